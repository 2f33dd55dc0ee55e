package lane_test

import (
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/web/lane"
)

// A program that is told to end while it starts ends.
func TestAServerThatWasEndedBeforeItBeganDoesNotServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &lane.Server{Handler: http.NotFoundHandler(), Fallback: &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		if !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		_ = l.Close()
		t.Fatal("it serves")
	}
}
