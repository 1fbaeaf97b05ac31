"""Growth: a larger model that begins where a smaller one ended."""

from scrimp.surgery.growth.base import Growth
from scrimp.surgery.growth.depth import DepthGrowth
from scrimp.surgery.growth.width import WidthGrowth

__all__ = ["DepthGrowth", "Growth", "WidthGrowth"]
