package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func stream(t *testing.T, ctx context.Context, h http.HandlerFunc) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://host/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	return Flowing{h}.RoundTrip(r)
}

func TestAnAnswerIsReadAsItIsWritten(t *testing.T) {
	read, ended := make(chan struct{}), make(chan error, 1)
	answer, err := stream(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Own", "yes")
		_, _ = io.WriteString(w, "one\n")
		<-read
		_, _ = io.WriteString(w, "two\n")
		<-r.Context().Done()
		_, err := io.WriteString(w, "nobody reads this\n")
		ended <- err
	})
	if err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("X-Own") != "yes" {
		t.Fatalf("%+v, %v", answer, err)
	}
	lines := bufio.NewReader(answer.Body)
	for _, want := range []string{"one\n", "two\n"} {
		if got, err := lines.ReadString('\n'); got != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if want == "one\n" {
			close(read)
		}
	}
	if err := answer.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("a body that is closed is written to")
	}
}

func TestWhatHandlersOfStreamsDoWrong(t *testing.T) {
	answer, err := stream(t, t.Context(), func(http.ResponseWriter, *http.Request) { panic("no") })
	if err != nil || answer.StatusCode != http.StatusInternalServerError {
		t.Fatalf("%+v, %v", answer, err)
	}
	if _, err := io.ReadAll(answer.Body); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := stream(t, ctx, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	answer, err = stream(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	if err != nil || answer.StatusCode != http.StatusNotFound {
		t.Errorf("%+v, %v", answer, err)
	}
	if text, err := io.ReadAll(answer.Body); len(text) > 0 || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
