"""Claims about GPUs: their prices, and how much faster one is than another."""

from outlast_workers.plan.claims.verdicts import Finding, Verdict
from outlast_workers.plan.estimate import ROUGH, priced, simulated
from outlast_workers.plan.price_list import PriceList
from outlast_workers.plan.workload import Model, Workload, preset

CLAIMED_USD = {"H100": 2.00, "H200": 2.60, "B200": 4.00}

CLAIMED_SPEED, MEASURED_SPEED = 1.9, 118.5 / 84.2
"""Of an H200 beside an H100 on a 70B model: the claim, and MLPerf Inference 4.1 (Llama 2 70B, 8 GPUs)."""


def gpu_prices(prices: PriceList) -> Finding:
    """Return the finding on prices per hour, beside those of the price files."""
    rows: list[tuple[str, ...]] = [("GPU", "claimed", "node, by the hour", "serverless", "read")]
    above = 0
    for gpu, claimed in CLAIMED_USD.items():
        node, serverless = prices.hourly(f"node.{gpu}"), prices.hourly(f"serverless.{gpu}")
        above += min(node, serverless) > claimed
        days = f"{prices[f'node.{gpu}'].date}, {prices[f'serverless.{gpu}'].date}"
        rows.append((gpu, f"{claimed:.2f}", f"{node:.2f}", f"{serverless:.2f}", days))
    claim = "An hour of an H100 costs 2.00, of an H200 2.60, of a B200 4.00 USD; 8 GPUs are a node"
    text = (
        f"the contract: {above} of {len(rows) - 1} cost more in our dated lists, which are on demand."
        " A node of 8 GPUs is right, and decides at small loads: one call pays for all eight"
    )
    verdict: Verdict = "contradicted" if above == len(CLAIMED_USD) else "depends"
    return Finding(claim, verdict, text, tuple(rows))


def h200_speed(prices: PriceList) -> Finding:
    """Return the finding on the speed of an H200, by the compute of a steady load of a 70B model."""
    rows: list[tuple[str, ...]] = [
        ("GPU", "times as fast", "prices", "GPUs, mean", "compute, USD a month")
    ]
    claimed = {f"node.{gpu}": usd for gpu, usd in CLAIMED_USD.items()}
    day = max(price.date for price in prices.prices.values())
    simulations = [
        (gpu, speed, _seventy_billion(gpu, speed))
        for gpu, speed in (("H100", 1.0), ("H200", MEASURED_SPEED), ("H200", CLAIMED_SPEED))
    ]
    for gpu, speed, workload in simulations:
        result = simulated("kubernetes", workload, effort=ROUGH)
        for name, listed in (("claimed", prices.changed(claimed, day=day)), ("ours", prices)):
            one = priced(result, workload, listed)
            gpus = one.pools["gpu"].mean_machines * 8
            rows.append((gpu, f"{speed:.2f}", name, f"{gpus:.0f}", f"{one.cost.compute:,.0f}"))
    ratio = prices.hourly("node.H200") / prices.hourly("node.H100")
    claim = "An H200 is up to 1.9 times as fast as an H100 on a 70B model"
    text = (
        f"memory: MLPerf 4.1 has {MEASURED_SPEED:.2f} on 8 GPUs, and 1.9 needs batches that do not fit on"
        f" an H100. An H200 pays if it is faster by more than its price: {ratio:.2f} times in our lists,"
        " and 1.30 times in the claim. Whole nodes of 8 can hide the difference"
    )
    return Finding(claim, "depends", text, tuple(rows))


def _seventy_billion(gpu: str, speed: float) -> Workload:
    model = Model.model_validate({"gpu": gpu, "speed": speed, "slots": 4, "cold_start_s": 300})
    load = preset("steady")
    # As many runs arrive on each GPU: a faster one has fewer in progress.
    slow = load.model_copy(update={"model_s": 15.0, "concurrent_runs": 400.0})
    fast = slow.model_copy(update={"model": model})
    return fast.model_copy(update={"concurrent_runs": slow.runs_per_s * fast.run_s})
