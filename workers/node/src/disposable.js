'use strict';

/** Something that can be taken back, once. Part of the core API. */
class Disposable {
  #dispose;

  constructor(callOnDispose) {
    this.#dispose = callOnDispose;
  }

  static from(...disposables) {
    return new Disposable(() => disposables.forEach((d) => d?.dispose?.()));
  }

  dispose() {
    const dispose = this.#dispose;
    this.#dispose = undefined;
    return dispose?.();
  }
}

module.exports = { Disposable };
