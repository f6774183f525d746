"""Constants of the integer arithmetic that Lava, the simulator and the compiler share.

They are those of Loihi as lava-nc 0.10.0 computes it (docs/design.md, section 6).
"""

from __future__ import annotations

UNITY = 4096  # a leak of 1, that is: nothing is lost
SHIFT = 6  # a current is shifted left by 6 before it joins the potential
STATE = (1 << 23) - 1  # the largest membrane potential and synaptic current
THRESHOLD = (1 << 17) - 1  # the largest threshold, before its shift
MANTISSA = (1 << 12) - 1  # a bias is a mantissa of 13 bits ..
EXPONENT = 7  # .. times 2 to the power of an exponent of 3 bits
CONV = 127  # the largest weight of a convolution
LISTED = 254  # that of a matrix or list of both signs, whose weights are even
SHORTCUT = 255  # that of a matrix or list of one sign, as an identity shortcut is
PIXEL_SCALE = 255.0  # 8-bit pixels arrive unrounded
