package frames_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/rpc/frames"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

type memory struct{ bytes.Buffer }

func (*memory) Close() error { return nil }

func TestMessagesArriveAsTheyWereSent(t *testing.T) {
	m := &memory{}
	c := frames.New(m)
	texts := []string{"", "short", strings.Repeat("x", 3<<20), "after it"}
	for _, text := range texts {
		if err := errors.Join(c.Send(&wire.StreamingMessage{RequestId: text}), c.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range texts {
		if got, err := c.Recv(); err != nil || got.GetRequestId() != text {
			t.Fatalf("%.20q %v, want %.20q", got.GetRequestId(), err, text)
		}
	}
	if _, err := c.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestAMessageBeyondTheBoundIsNotRead(t *testing.T) {
	m := &memory{}
	c := frames.New(m)
	c.Bound(1 << 20)
	if err := errors.Join(c.Send(&wire.StreamingMessage{RequestId: strings.Repeat("x", 1<<20)}), c.Flush()); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Recv(); !errors.Is(err, problem.TooLarge) || got != nil {
		t.Errorf("%v %v", got, err)
	}
}

// FuzzRecv takes what a worker may send: it ends, and memory does not grow with
// what a length promises.
func FuzzRecv(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{2, 0, 0, 0, 0x0a, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f, 1, 2, 3})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &memory{}
		m.Write(data)
		c := frames.New(m)
		for n := 0; ; n++ {
			if n > len(data) {
				t.Fatal("more messages than bytes")
			}
			if got, err := c.Recv(); err != nil {
				return
			} else if got == nil {
				t.Fatal("neither a message nor an error")
			}
		}
	})
}
