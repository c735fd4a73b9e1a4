"""Verification of a tool call in its worker: people signed its arguments, with keys that the worker has.

Who may write to a namespace can start a workflow or an activity with any input. They cannot sign.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from outlast.contracts.agents import ToolSpec
from outlast.contracts.human import Approval, sha256_of
from outlast.contracts.proofs import CallProof, DecisionClaims, SignedVote, nonce_after
from outlast_activities.policies.signatures import signed_claims

Keys = Mapping[str, Mapping[str, str]]
"""Public keys by audience and person."""


def needs_proof(tool: ToolSpec, arguments: Mapping[str, JsonValue], keys: Keys) -> bool:
    """Tell whether a call of a tool needs signed votes.

    It does if the tool requires signatures, or if all its audiences have keys. Exceptions are a call that
    needs no approval, and a tool whose requests are approved when they expire.
    """
    approval = tool.approval
    if approval is None or (approval.when is not None and not approval.when.holds(arguments)):
        return False
    has_keys = all(keys.get(audience) for audience in approval.audiences)
    return approval.signed or (has_keys and approval.on_expiry == "deny")


def refusal_of_call(
    approval: Approval,
    arguments: dict[str, JsonValue],
    proof: CallProof | None,
    *,
    run_id: str,
    call_id: str,
    keys: Keys,
) -> str | None:
    """Return why nobody has approved this call, in one sentence, or None if enough people have signed it.

    The time of a signature does not matter here: the run has checked it. The nonce is part of the
    idempotency key, so that a vote that somebody sends again repeats no effect.
    """
    if proof is None or not proof.votes:
        return "nobody has signed this call"
    signers = set()
    for vote in proof.votes:
        claims = _claims(vote, approval, keys)
        if isinstance(claims, str):
            return claims
        problem = _problem(vote, claims, arguments, proof, run_id=run_id, call_id=call_id)
        if problem is not None:
            return f"{vote.by!r} signed {problem}"
        signers.add(vote.by)
    if len(signers) < approval.quorum:
        return f"{approval.quorum} people must sign this call, not {len(signers)}"
    return None


def _claims(vote: SignedVote, approval: Approval, keys: Keys) -> DecisionClaims | str:
    """Return the claims that a key of one of the tool's audiences signed, or why there are none."""
    problem = f"{vote.by!r} may not decide this"
    for audience in approval.audiences:
        if vote.by in keys.get(audience, {}):
            claims = signed_claims(vote.by, vote.signature, keys[audience])
            if isinstance(claims, DecisionClaims) and claims.aud == audience:
                return claims
            problem = (
                claims if isinstance(claims, str) else f"{vote.by!r} signed for {claims.aud!r}"
            )
    return problem


def _problem(
    vote: SignedVote,
    claims: DecisionClaims,
    arguments: dict[str, JsonValue],
    proof: CallProof,
    *,
    run_id: str,
    call_id: str,
) -> str | None:
    if (claims.run, claims.request_id) != (run_id, call_id):
        return f"request {claims.request_id} of run {claims.run!r}"
    if claims.decision != vote.decision:
        return f"the decision {claims.decision!r}"
    if vote.decision == "edit":
        says = {"arguments": arguments, "answer": None, "comment": vote.comment}
        is_same = claims.says_sha256 == sha256_of(says)
        nonce = nonce_after(claims.nonce, arguments)
    else:
        is_same = claims.arguments_sha256 == sha256_of(arguments)
        nonce = claims.nonce
    if not is_same:
        return "other arguments"
    return None if nonce == proof.nonce else "another request"
