package client

import (
	"errors"
	"net/http"
	"testing"
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
