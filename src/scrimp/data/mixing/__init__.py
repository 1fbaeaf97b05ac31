"""The family of mixers: which domain comes in which proportion, and when."""

from scrimp.data.mixing.base import Domains, Mixer, by_size
from scrimp.data.mixing.drawing import Drawing, drawn_rows
from scrimp.data.mixing.feed import Mixture, domain_of, gathered
from scrimp.data.mixing.general import GeneralAmongDomain, most_general
from scrimp.data.mixing.multiplicative import Multiplicative, skill_graph
from scrimp.data.mixing.stages import Stages, forks
from scrimp.data.mixing.temperature import Temperature

__all__ = ["Domains", "Drawing", "GeneralAmongDomain", "Mixer", "Mixture", "Multiplicative", "Stages", "Temperature",
           "by_size", "domain_of", "drawn_rows", "forks", "gathered", "most_general", "skill_graph"]
