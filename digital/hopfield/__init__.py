"""Deep Hopfield networks as energy blocks of an ff-EBM, in plain torch: what the paper trains in place of circuits.

```
HopfieldConfig + HopfieldParameters --energy--> E(x, s) --relax--> equilibrium --estimate_gradients--> gradients
```

`HopfieldBlock` is all of it as a torch module.
"""

from .block import HopfieldBlock as HopfieldBlock
from .block import UnsettledWarning as UnsettledWarning
from .choices import Gradient as Gradient
from .choices import LastLayer as LastLayer
from .choices import NudgeScaling as NudgeScaling
from .choices import Nudging as Nudging
from .config import HopfieldConfig as HopfieldConfig
from .config import HopfieldParameters as HopfieldParameters
from .couplings import ConvCoupling as ConvCoupling
from .couplings import DenseCoupling as DenseCoupling
from .curvature import smallest_eigenvalue as smallest_eigenvalue
from .energy import compute_energy as compute_energy
from .energy import update_layer as update_layer
from .equilibrium_propagation import estimate_gradients as estimate_gradients
from .initialisation import draw_goe as draw_goe
from .phases import HopfieldPhases as HopfieldPhases
from .relaxation import Relaxed as Relaxed
from .relaxation import relax as relax
