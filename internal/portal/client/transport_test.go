package client

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// TestWhatAHandlerThrowsIsAnError calls on goroutines of nobody's, where it would end
// the process.
func TestWhatAHandlerThrowsIsAnError(t *testing.T) {
	long := make([]byte, maxAnswer+1)
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"a fault":              {func(http.ResponseWriter, *http.Request) { panic("oh") }, nil},
		"an answer broken off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil},
		"one that is too long": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(long)
			panic(http.ErrAbortHandler)
		}, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "https://localhost/", nil)
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() {
				answer, err := Within{c.handler}.RoundTrip(r)
				if err == nil {
					_ = answer.Body.Close()
				}
				failed <- err
			}()
			if err := <-failed; err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestASilentHandlerIsWaitedForNoLongerThanSaid calls one that looks at no context, and
// one that answers that its own time is over.
func TestASilentHandlerIsWaitedForNoLongerThanSaid(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	for name, h := range map[string]http.HandlerFunc{
		"deaf": func(http.ResponseWriter, *http.Request) { <-end },
		"late": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusServiceUnavailable)
		},
	} {
		c := Client{Transport: Within{Handler: h}, Base: "https://host", Reads: time.Millisecond, Writes: time.Millisecond,
			Token: func(context.Context) (string, error) { return "", nil }}
		if err := c.Get(t.Context(), "/x", nil); !errors.Is(err, problem.Timeout) {
			t.Errorf("%s: reading gives %v", name, err)
		}
		if err := c.Create(t.Context(), "/x", nil, nil); !errors.Is(err, problem.Timeout) {
			t.Errorf("%s: writing gives %v", name, err)
		}
	}
}
