"""AdmissionReview (admission.k8s.io/v1): an API server's question about a new pod, and the answer. Of `webhook`."""

import base64
from collections.abc import Container

import msgspec

from allocator import errors
from kubeclient import object_reader
from scheduler.admission import gate_rule
from scheduler.admission.gate_rule import NewPod

API_VERSION, KIND = "admission.k8s.io/v1", "AdmissionReview"


class _Question(msgspec.Struct, frozen=True):
    uid: str
    object: NewPod | None = None


class _Review(msgspec.Struct, frozen=True, rename={"api_version": "apiVersion"}):
    api_version: str
    kind: str
    request: _Question


_DECODER = msgspec.json.Decoder(_Review)


async def answered(body: bytes, schedulers: Container[str]) -> bytes:
    """The answer to a question: allowed, with the gate where the rule gives it. Raises ContractError for a body that is
    no such question.
    """
    try:
        review = await object_reader.whole(body, _DECODER.decode)
    except object_reader.DECODER_ERRORS as error:
        raise errors.ContractError("body", _shown(body), f"must be an {KIND} of a pod: {error}") from error
    if (review.api_version, review.kind) != (API_VERSION, KIND):
        raise errors.ContractError(
            "apiVersion, kind", f"{review.api_version} {review.kind}", f"send {API_VERSION} {KIND}"
        )
    response: dict[str, object] = {"uid": review.request.uid, "allowed": True}
    changes = gate_rule.patch(review.request.object, schedulers) if review.request.object is not None else ()
    if changes:
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(msgspec.json.encode(changes)).decode()}
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": KIND, "response": response})


def _shown(body: bytes) -> str:
    return body[:80].decode(errors="replace")
