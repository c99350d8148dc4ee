"""Passes a chat through whose client and engine speak the same dialect: their bytes are sent on unchanged.

In the request only ``model`` changes, and usage is requested. In the answer, usage that the client did not ask for and
events with empty data are left out; a last event gets its blank line; a key that the provider repeats in an error is
masked; what clients take for the end of a JSON line is escaped; what strict clients cannot read is repaired
(``llm.dialects.stream_repair``); an answer that ended too early gets an error; and one in the other form than requested
(a stream, or one document) is converted. The dialect's reader gets every event, for usage, the end and the log.
"""
