package funcapp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
)

// Fingerprint is a digest of what an app's files say: equal as long as the text
// of host.json and of every function.json, and each function's state, are. It
// holds nothing of the settings' values.
func Fingerprint(a *App) string {
	h := sha256.New()
	part(h, a.Host.Raw)
	for i := range a.Functions {
		f := &a.Functions[i]
		part(h, f.Config)
		state, err := json.Marshal([]any{f.Name, f.Disabled, f.Excluded, len(f.Faults)})
		if err != nil { // plain values: it cannot fail
			continue
		}
		part(h, state)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// part hashes one piece with its length, so that pieces cannot run together.
func part(h hash.Hash, b []byte) {
	sum := sha256.Sum256(b)
	h.Write(sum[:])
}
