"""What the switch refuses, in words: what it has run out of is named."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from os_ken.ofproto import ofproto_v1_4 as ofproto

from controller.openflow.switch import _error_text


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        (ofproto.OFPET_METER_MOD_FAILED, ofproto.OFPMMFC_OUT_OF_METERS, "the datapath has no meters left: OFPET_METER"),
        (ofproto.OFPET_GROUP_MOD_FAILED, ofproto.OFPGMFC_OUT_OF_GROUPS, "the datapath has no groups left: OFPET_GROUP"),
        (ofproto.OFPET_FLOW_MOD_FAILED, ofproto.OFPFMFC_TABLE_FULL, "the datapath has no flows left: OFPET_FLOW"),
        (ofproto.OFPET_FLOW_MOD_FAILED, ofproto.OFPFMFC_UNKNOWN, "OFPET_FLOW_MOD_FAILED(5), OFPFMFC_UNKNOWN(0)"),
        # An experimenter error has no type and code of OpenFlow's own.
        (None, None, "an experimenter error"),
    ],
)
def test_what_ran_out_is_named(kind: int | None, code: int | None, text: str) -> None:
    message = SimpleNamespace(datapath=SimpleNamespace(ofproto=ofproto), type=kind, code=code)
    assert _error_text(message).startswith(text)
