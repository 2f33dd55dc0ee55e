package node

import (
	"os/exec"
	"testing"
)

// TestWhatStandsInForThePlatformsObjectsDoesTheSame runs the tests that the
// worker's sources bring along.
func TestWhatStandsInForThePlatformsObjectsDoesTheSame(t *testing.T) {
	path, err := exec.LookPath("node")
	if err != nil {
		t.Skip("needs Node.js: the package nodejs brings it")
	}
	if out, err := exec.CommandContext(t.Context(), path, "--test", "src/light.test.js").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
