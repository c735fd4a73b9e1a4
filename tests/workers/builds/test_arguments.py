"""The command line of `outlast worker promote`."""

import argparse
from typing import Any

import pytest
from outlast_workers.__main__ import main
from outlast_workers.builds.arguments import add_build_commands


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ramp", "50,10"], "'50,10' is not a rising list"),
        (["--ramp", "10,"], "'10,' is not a rising list"),
        (["--ramp", "0,10"], "'0,10' is not a rising list"),
        (["--ramp", "10,101"], "'10,101' is not a rising list"),
        (["--ramp", ",".join(map(str, range(1, 22)))], "at most 20 percentages"),
        (["--gate", "refund-desk"], "'refund-desk' is not AGENT=INPUT"),
        (["--gate", "9=x"], "'9=x' is not AGENT=INPUT"),
        (["--gate", "desk="], "'desk=' has no input"),
        (["--max-failure-rate", "5"], "'5' is not a number from 0 to 1"),
        (["--max-failure-rate", "nan"], "'nan' is not a number from 0 to 1"),
        (["--min-runs", "-1"], "'-1' is not a whole number"),
        (["--hold", "5m"], "'5m' is not a number of seconds"),
        (["--hold", "inf"], "'inf' is not a number of seconds"),
        (["--hold", "9" * 400], "is not a number of seconds"),
    ],
)
def test_a_bad_option_is_rejected_by_name(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["promote", "v2", *options])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert options[0] in error
    assert message in error


def gate_of(text: str) -> Any:
    parser = argparse.ArgumentParser()
    add_build_commands(parser.add_subparsers())
    (gate,) = parser.parse_args(["promote", "v2", "--gate", text]).gate
    return gate.input


def test_the_input_of_a_gate_is_json_or_text() -> None:
    assert gate_of('desk={"order": 1}') == {"order": 1}
    assert gate_of("desk=Where is A-1042? a=b") == "Where is A-1042? a=b"
