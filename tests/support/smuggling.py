"""Malformed and ambiguous requests (request smuggling)."""

from __future__ import annotations

from tests.support.harness import CLIENT_ID

VALID = f"X-ClientId: {CLIENT_ID}\r\n"
START = f"POST /llm/engines HTTP/1.1\r\nHost: x\r\n{VALID}"
CHUNKED = f"{START}Transfer-Encoding: chunked\r\n\r\n"
SMUGGLING = {
    "both a length and chunks": f"{START}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": f"{START}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": f"{START}Content-Length: 2\r\nContent-Length: 5\r\n\r\n{{}}",
    "two lengths in one": f"{START}Content-Length: 2, 5\r\n\r\n{{}}",
    "a length with a sign": f"{START}Content-Length: +2\r\n\r\n{{}}",
    "a length below zero": f"{START}Content-Length: -2\r\n\r\n{{}}",
    "a hexadecimal length": f"{START}Content-Length: 0x2\r\n\r\n{{}}",
    "a length with an underscore": f"{START}Content-Length: 0_2\r\n\r\n{{}}",
    "a length in other digits": f"{START}Content-Length: \xb2\r\n\r\n{{}}",
    "an empty length": f"{START}Content-Length:\r\n\r\n{{}}",
    "an encoding that nobody knows": f"{START}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "an encoding in quotes": f'{START}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "two encodings": f"{START}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": f"{START}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and identity": f"{START}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a comma before": f"{START}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab": f"{START}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": f"{START}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": f"{START}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a folded first header": f"POST /llm/engines HTTP/1.1\r\n Host: x\r\n{VALID}\r\n",
    "a chunk with an extension": f"{CHUNKED}2;a=b\r\n{{}}\r\n0\r\n\r\n",
    "an extension with a line feed": f"{CHUNKED}2;\n{{}}\r\n0\r\n\r\n",
    "a chunk size with a sign": f"{CHUNKED}+2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk size with 0x": f"{CHUNKED}0x2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk size with an underscore": f"{CHUNKED}0_2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk size with a blank": f"{CHUNKED}2 \r\n{{}}\r\n0\r\n\r\n",
    "an empty chunk size": f"{CHUNKED}\r\n{{}}\r\n0\r\n\r\n",
    "a chunk without its end": f"{CHUNKED}2\r\n{{}}0\r\n\r\n",
    "a chunk that is longer than said": f"{CHUNKED}1\r\n{{}}\r\n0\r\n\r\n",
    "a chunk beyond all numbers": f"{CHUNKED}ffffffffffffffff1\r\n{{}}\r\n0\r\n\r\n",
    "trailers": f"{CHUNKED}2\r\n{{}}\r\n0\r\nX-ClientId: {CLIENT_ID}\r\n\r\n",
    "a bare CR in a header": f"{START}X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a NUL in a header": f"{START}X: a\x00b\r\n\r\n",
    "a header without a name": f"{START}: x\r\n\r\n",
    "a header without a colon": f"{START}Content-Length 2\r\n\r\n{{}}",
    "a header name with a blank": f"{START}Content Length: 2\r\n\r\n{{}}",
    "an older version": f"GET /llm/engines\r\n{VALID}\r\n",
    "a version that is none": f"GET /llm/engines HTTP/1.11\r\nHost: x\r\n{VALID}\r\n",
    "a version in small letters": f"GET /llm/engines http/1.1\r\nHost: x\r\n{VALID}\r\n",
    "a version to come": f"GET /llm/engines HTTP/2.0\r\nHost: x\r\n{VALID}\r\n",
    "a preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tabs in the first line": f"GET\t/llm/engines\tHTTP/1.1\r\nHost: x\r\n{VALID}\r\n",
    "a blank in the path": f"GET /llm/engines /x HTTP/1.1\r\nHost: x\r\n{VALID}\r\n",
    "no path": f"GET  HTTP/1.1\r\nHost: x\r\n{VALID}\r\n",
    "no host": f"GET /llm/engines HTTP/1.1\r\n{VALID}\r\n",
    "a method that is none": f"G(T /llm/engines HTTP/1.1\r\nHost: x\r\n{VALID}\r\n",
    "a NUL in the path": f"GET /llm/engines\x00 HTTP/1.1\r\nHost: x\r\n{VALID}\r\n",
}
