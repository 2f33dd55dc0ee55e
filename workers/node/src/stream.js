'use strict';
// The way to the host: frames of a 4-byte little-endian length and one
// StreamingMessage, over a socket that the host opened before it started this
// process. Nobody else can connect to it, and the host's end closes with the
// host: then this process ends as well.

const net = require('net');
const { rpc } = require('./wire');

const HEAD = 4;

class Stream {
  /**
   * @param {number} fd the open socket
   * @param {(message: object) => void} receive called for each message, in order
   * @param {() => void} ended called once when the host is gone
   */
  constructor(fd, receive, ended) {
    this.socket = new net.Socket({ fd, readable: true, writable: true });
    this.receive = receive;
    this.rest = null;
    this.corked = false;
    this.socket.on('data', (chunk) => this.take(chunk));
    this.socket.on('end', ended);
    this.socket.on('error', ended);
  }

  /** Writes a message. Those of one turn of the event loop leave together. */
  send(message) {
    if (!this.corked) {
      this.corked = true;
      this.socket.cork();
      setImmediate(() => {
        this.corked = false;
        this.socket.uncork();
      });
    }
    const body = rpc.StreamingMessage.encode(message).finish();
    const frame = Buffer.allocUnsafe(HEAD + body.length);
    frame.writeUInt32LE(body.length, 0);
    frame.set(body, HEAD);
    this.socket.write(frame);
  }

  /** Calls done when all that was sent is with the host. */
  flush(done) {
    if (this.corked) {
      this.corked = false;
      this.socket.uncork();
    }
    this.socket.write('', done);
  }

  take(chunk) {
    const data = this.rest ? this.join(chunk) : chunk;
    if (!data) return;
    let at = 0;
    while (data.length - at >= HEAD) {
      const length = data.readUInt32LE(at);
      if (data.length - at - HEAD < length) break;
      at += HEAD;
      this.receive(rpc.StreamingMessage.decode(data.subarray(at, at + length)));
      at += length;
    }
    this.keep(at === 0 ? data : data.subarray(at));
  }

  // A large frame comes in many chunks: they are joined once, when it is whole.
  keep(data) {
    if (!data.length) {
      this.rest = null;
      return;
    }
    const wanted = data.length >= HEAD ? HEAD + data.readUInt32LE(0) : HEAD;
    this.rest = { chunks: [data], have: data.length, wanted };
  }

  join(chunk) {
    this.rest.chunks.push(chunk);
    this.rest.have += chunk.length;
    if (this.rest.have < this.rest.wanted) return null;
    const all = Buffer.concat(this.rest.chunks, this.rest.have);
    this.rest = null;
    return all;
  }
}

module.exports = { Stream };
