"""The public verbs. The typed fields of a verb's class are its options, its docstring is its page, `do` does it.

The Python functions (`scrimp.fit(...)`), the command line (`scrimp fit ...`) and the recipes are all made from these
classes: one code path, nothing written twice. Nothing here loads torch before something is done.
"""

from scrimp.verbs.base import Verb, Workspaced
from scrimp.verbs.compare import Compare
from scrimp.verbs.evidence import Evidence
from scrimp.verbs.export import Export
from scrimp.verbs.housekeeping import Clean, Cleaning, Sample, Schema
from scrimp.verbs.inspect import Inspect, Inspection
from scrimp.verbs.learn import Fit, Learn, Tune
from scrimp.verbs.merge import Merge
from scrimp.verbs.methods import MethodPage, Methods
from scrimp.verbs.mix import Mix, Mixed
from scrimp.verbs.plan import Plan, Planned
from scrimp.verbs.run import Run
from scrimp.verbs.select import Select, Selected
from scrimp.verbs.serve import Serve, ServedUntil
from scrimp.verbs.sift import Decontaminate, Deduplicate, Sifted
from scrimp.verbs.ui import Ui, Watched
from scrimp.verbs.use import Evaluate, Predict

__all__ = [
    "VERBS", "Clean", "Cleaning", "Compare", "Decontaminate", "Deduplicate", "Evaluate", "Evidence", "Export", "Fit",
    "Inspect", "Inspection", "Learn", "Merge", "MethodPage", "Methods", "Mix", "Mixed", "Plan", "Planned", "Predict",
    "Run", "Sample", "Schema", "Select", "Selected", "Serve", "ServedUntil", "Sifted", "Tune", "Ui", "Verb", "Watched",
    "Workspaced",
]

#: Every verb by its name.
VERBS: dict[str, type[Verb]] = {verb.named(): verb for verb in (
    Fit, Predict, Evaluate, Tune, Select, Mix, Deduplicate, Decontaminate, Merge, Inspect, Plan, Run, Compare, Export,
    Serve, Ui, Sample, Methods, Evidence, Schema, Clean)}
