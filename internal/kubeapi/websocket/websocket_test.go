package websocket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/latchkey/latchkey/internal/kubeapi/websocket"
)

func TestMessagesArriveWhole(t *testing.T) {
	a, b := net.Pipe()
	client, server := websocket.New(a, true), websocket.New(b, false)
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, websocket.MaxMessage} {
		want := bytes.Repeat([]byte{byte(n), 7}, n/2+1)[:n]
		for from, to := range map[*websocket.Conn]*websocket.Conn{client: server, server: client} {
			sent := make(chan error, 1)
			go func() { sent <- from.Write(want) }()
			got, err := to.Read()
			if err := errors.Join(err, <-sent); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: %d, %v", n, len(got), err)
			}
		}
	}
	go func() { _ = client.Close() }()
	if _, err := server.Read(); err != io.EOF {
		t.Errorf("%v", err)
	}
}

// conn gives bytes and takes all.
type conn struct{ io.Reader }

func (conn) Write(b []byte) (int, error) { return len(b), nil }
func (conn) Close() error                { return nil }

func read(data []byte) ([]byte, error) {
	return websocket.New(conn{bytes.NewReader(data)}, true).Read()
}

func TestFramesOfStrangers(t *testing.T) {
	for what, c := range map[string]struct {
		in   []byte
		want string
		err  error
	}{
		"in pieces, with a ping between": {[]byte{1, 1, 'a', 0x89, 1, 'x', 0, 1, 'b', 0x80, 1, 'c'}, "abc", nil},
		"masked by a server":             {[]byte{0x82, 0x81, 0, 0, 0, 0, 'a'}, "", websocket.ErrBroken},
		"a piece of nothing":             {[]byte{0x80, 1, 'a'}, "", websocket.ErrBroken},
		"two beginnings":                 {[]byte{1, 1, 'a', 0x81, 1, 'b'}, "", websocket.ErrBroken},
		"too long":                       {[]byte{0x82, 127, 0, 0, 0, 0, 0, 32, 0, 0}, "", websocket.ErrBroken},
		"unknown":                        {[]byte{0x83, 0}, "", websocket.ErrBroken},
		"reserved":                       {[]byte{0xf2, 0}, "", websocket.ErrBroken},
		"cut off":                        {[]byte{0x82, 5, 'a'}, "", io.ErrUnexpectedEOF},
	} {
		if got, err := read(c.in); string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{0x82, 126, 0, 1, 'a'})
	f.Add([]byte{1, 1, 'a', 0x89, 1, 'x', 0x80, 1, 'b'})
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := read(data); err == nil && len(got) > len(data) {
			t.Errorf("%d bytes of %d", len(got), len(data))
		}
	})
}
