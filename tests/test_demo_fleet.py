"""What `make demo-fleet` shows, shown here too: whoever breaks it is told at once."""

import sys

import gateway as support
import nats
from fleet import Fleet

sys.path.insert(0, str(support.ROOT / "scripts"))

import demo_fleet  # noqa: E402


def test_the_demo_of_a_fleet_runs_to_its_end(tmp_path):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path / "fleet", controls=2, nats_servers=3) as fleet:
        demo_fleet.demo(fleet)
