"""Messages as JSON in the database, and their rounds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm.chat.history import close_open_calls, split_rounds
from llm.chat.messages import Citation, Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import ProviderMetadata
from llm.storage.message_json import read_message, write_message
from llm.wire.json_codec import dumps, loads

# --- the stored form ---

METADATA = st.lists(
    st.builds(
        ProviderMetadata,
        st.text(max_size=5),
        st.none() | st.text(max_size=5),
        st.dictionaries(st.text(max_size=4), st.integers()),
    ),
    max_size=2,
).map(tuple)
TEXTS = st.builds(
    Text,
    st.text(),
    st.lists(st.builds(Citation, url=st.none() | st.text(), start=st.none() | st.integers(), metadata=METADATA)).map(
        tuple
    ),
    METADATA,
)
MEDIA = st.builds(Media, mime=st.text(), base64=st.none() | st.text(), url=st.none() | st.text(), metadata=METADATA)
PARTS: st.SearchStrategy[Part] = st.one_of(
    TEXTS,
    MEDIA,
    st.builds(Reasoning, st.text(), METADATA),
    st.builds(ToolCall, st.text(), st.text(), st.text(), st.sampled_from(["client", "server", "provider"]), METADATA),
    st.builds(
        ToolResult,
        st.text(),
        st.lists(TEXTS | MEDIA, max_size=2).map(tuple),
        st.booleans(),
        st.none() | st.text(),
        METADATA,
    ),
    st.builds(UnknownPart, METADATA),
)


@given(st.builds(Message, st.sampled_from(["user", "assistant"]), st.lists(PARTS, max_size=4).map(tuple), METADATA))
def test_a_stored_message_is_read_unchanged(message: Message) -> None:
    assert read_message(loads(dumps(write_message(message)))) == message


def test_an_answer_is_split_into_its_rounds() -> None:
    call = [ToolCall(f"c{n}", "t", "{}", "server") for n in range(3)]
    client_call = [ToolCall(f"c{n}", "t", "{}", "client") for n in range(3)]
    result = [ToolResult(f"c{n}", (Text("r"),)) for n in range(3)]
    answer = Message("assistant", (Text("a"), call[0], call[1], result[1], result[0], Text("b"), call[2], result[2]))
    assert split_rounds(answer) == (
        Message("assistant", (Text("a"), client_call[0], client_call[1])),
        Message("user", (result[0], result[1])),
        Message("assistant", (Text("b"), client_call[2])),
        Message("user", (result[2],)),
    )
    assert split_rounds(Message("assistant", ())) == ()
    assert close_open_calls(split_rounds(answer)) == split_rounds(answer)
    partial = close_open_calls((Message("assistant", (client_call[0], client_call[1])), Message("user", (result[1],))))
    assert [[part.call_id for part in m.parts if isinstance(part, ToolResult)] for m in partial] == [[], ["c0", "c1"]]
    open_end: tuple[Any, ...] = close_open_calls((Message("assistant", (client_call[0],)),))
    assert isinstance(open_end[-1].parts[0], ToolResult) and open_end[-1].parts[0].is_error
    assert open_end[-1].parts[0].content == (Text("This tool was not run."),)
