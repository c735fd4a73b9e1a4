"""Free ports of the loopback interface."""

from outlast_workers.local.ports import PORTS, free_port


def test_two_servers_of_a_process_never_get_the_same_port() -> None:
    ports = [free_port() for _ in range(1_000)]
    assert len(set(ports)) == len(ports)
    assert set(ports) <= set(PORTS)
