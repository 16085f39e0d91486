"""Privacy teams' own protocols: OpenDSR, the Data Rights Protocol, and IAB Tech Lab's Data Deletion Request Framework.

Each protocol is one module of plain functions from a request's bytes to an answer; `office` records what they accept,
`service` offers them over HTTP. What they say of a person is kept as keyed digests only.
"""
