package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

const (
	firstPause = time.Second
	maxAnswer  = 64 << 10 // bytes that are read of one, so that the connection can be used again
)

// errFinal marks an answer that trying again would not change.
var errFinal = errors.New("it will not take it")

// deliver tries to hand over an event until it is taken, is refused for good, or has
// been tried often enough.
func (w *Webhook) deliver(ctx context.Context, j job) {
	for try := 1; ; try++ {
		err := w.post(ctx, j)
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			w.drop("this node stops", j.kind)
			return
		case errors.Is(err, errFinal) || try == Tries:
			w.drop(err.Error(), j.kind)
			return
		}
		w.cfg.Log.Debug("an event could not be delivered; this is tried again", slog.String("host", w.host), slog.String("type", j.kind), slog.String("error", err.Error()))
		_ = clock.Sleep(ctx, w.cfg.Clock, pause(try)) // the next try sees that ctx ended
	}
}

// pause gives how long to wait after a try: doubled each time, of which a random half
// keeps many senders apart.
func pause(try int) time.Duration {
	whole := firstPause << (try - 1)
	return whole/2 + rand.N(whole/2+1)
}

// post makes one try. Its errors hold no URL.
func (w *Webhook) post(ctx context.Context, j job) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(j.body))
	if err != nil {
		return fmt.Errorf("no request can be made: %w", errFinal)
	}
	r.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	r.Header.Set("User-Agent", "latchkey")
	if w.cfg.Secret != nil {
		at := strconv.FormatInt(w.cfg.Clock.Now().Unix(), 10)
		r.Header.Set("Webhook-Id", j.id)
		r.Header.Set("Webhook-Timestamp", at)
		r.Header.Set("Webhook-Signature", signature(w.cfg.Secret, j.id, at, j.body))
	}
	res, err := w.cfg.Client.Do(r)
	if err != nil {
		return fmt.Errorf("the receiver cannot be reached: %s", reason(err))
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer)
	return outcome(res.StatusCode)
}

// signature is that of Standard Webhooks, version 1.
func signature(key []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = io.WriteString(mac, id+"."+at+".")
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func outcome(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return fmt.Errorf("the receiver answers %d", status)
	}
	return fmt.Errorf("the receiver answers %d: %w", status, errFinal)
}

// reason gives why there was no answer. The client's own error holds the URL.
func reason(err error) string {
	var name *net.DNSError
	var op *net.OpError
	var slow interface{ Timeout() bool }
	switch {
	case errors.As(err, &name):
		return "its name cannot be resolved"
	case errors.As(err, &slow) && slow.Timeout():
		return "it takes too long"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return "the connection failed"
}
