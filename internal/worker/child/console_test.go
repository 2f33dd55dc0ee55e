package child

import (
	"fmt"
	"strings"
	"testing"
)

// TestTheLastLinesHaveNoSecrets: they are quoted in errors that every reader of the app
// sees.
func TestTheLastLinesHaveNoSecrets(t *testing.T) {
	var tail Tail
	for i := range 20 {
		tail.Add(fmt.Sprint("line ", i))
	}
	tail.Add("POST http://partner.example/api/pay?code=hunter2 \x1b[31mfailed\x1b[0m")
	tail.Add("Endpoint=sb://b;SharedAccessKey=\x1b[33mhunter2")
	got := tail.Lines()
	if text := strings.Join(got, "\n"); len(got) != tailLines || strings.Contains(text, "hunter2") || strings.Contains(text, "\x1b") ||
		!strings.Contains(text, "line 19\nPOST http://partner.example/api/pay?code=REDACTED failed\n") {
		t.Errorf("%q", got)
	}
}
