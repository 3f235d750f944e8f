// Package wire joins trackers and workers over a network: commands go one way, reports the other, on one
// connection that the worker opens.
//
// Invariant: commands and reports arrive in the order in which they were sent, each at most once on a connection. A report
// that ends an attempt is sent again on the next connection until the tracker has said that what it tells is durable; so a
// result is lost only with its worker. Signs of life and commands are not repeated: who misses them asks anew.
//
// How it works:
//  1. A worker dials GET /api/v1/worker and says Hello: who it is, what it offers, what it runs, and of which jobs it has something. What
//     it has missed of their ends is told again.
//  2. The tracker answers Welcome, and from then on sends commands; the worker sends reports and, each second, a sign of
//     life. The tracker sends a ping each second, so that either side notices when the other falls silent, in whichever direction.
//  3. When a connection ends the worker dials again and says Hello anew. The tracker gives it a few seconds, then gives it up.
//
// A frame is a 4-byte big-endian length, that many bytes of JSON, and a payload: the message of a round, or its sum. It
// is one binary message of a websocket, so that proxies, TLS and tokens are those of HTTP.
//
// Callers are the tracker and worker daemons. Package tracker and package worker know nothing of it.
package wire
