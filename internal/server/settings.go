package server

import (
	"hash/fnv"
	"strconv"
	"strings"
	"unicode"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

// settings are an app's settings: the process environment merged with
// local.settings.json.
type settings = hosted.Settings

// readSettings merges the environment with local.settings.json. Faults of the
// file are returned for the app to show; its readable part counts.
func readSettings(dir string, environ []string) (settings, *funcapp.LocalSettings, []funcapp.Fault, []string) {
	local, faults := funcapp.LoadLocalSettings(dir)
	merged, warnings := funcapp.MergeEnv(environ, local)
	return merged, local, faults, warnings
}

func alnum(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return -1
	}, s)
}

func shortHash(s string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return strconv.FormatUint(uint64(h.Sum32()), 10)
}
