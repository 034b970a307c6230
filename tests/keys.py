"""Keys for tests: everybody's is derived from the name, so that signatures are the same in every run."""

from app.testing import RING as RING
from app.testing import WORKER_KEY as WORKER_KEY
from app.testing import Ring as Ring
from app.testing import is_good as is_good
from app.testing import key_of as key_of
