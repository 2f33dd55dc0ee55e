package platform

import (
	"net/http"
	"strings"
	"testing"
)

func TestAnAnswerTooLongToPassOnIsNoAnswer(t *testing.T) {
	r := &relayed{header: http.Header{}}
	if _, err := r.Write([]byte(strings.Repeat("x", maxRelayed))); err != nil || r.cut || r.status != http.StatusOK {
		t.Fatalf("as much as is passed on: %v, cut %v, status %d", err, r.cut, r.status)
	}
	if _, err := r.Write([]byte("x")); err == nil || !r.cut {
		t.Error("a byte more is taken for the whole")
	}
}
