package arm

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a path.
const (
	maxPath     = 8192 // bytes as sent
	maxSegments = 64
	maxSegment  = 512 // bytes decoded
)

// split gives the segments of a path as it was sent, each decoded once, so that
// an encoded slash stays within its segment. Empty segments do not count.
func split(escaped string) ([]string, error) {
	if len(escaped) > maxPath {
		return nil, badPath("it has more than %d bytes", maxPath)
	}
	var segs []string
	for raw := range strings.SplitSeq(escaped, "/") {
		if raw == "" {
			continue
		}
		if len(segs) == maxSegments {
			return nil, badPath("it has more than %d segments", maxSegments)
		}
		seg, err := url.PathUnescape(raw)
		if err != nil {
			return nil, badPath("segment %d is not percent-encoded correctly", len(segs)+1)
		}
		if err := checkSegment(seg, len(segs)+1); err != nil {
			return nil, err
		}
		segs = append(segs, seg)
	}
	return segs, nil
}

func checkSegment(seg string, n int) error {
	switch {
	case len(seg) > maxSegment:
		return badPath("segment %d has more than %d bytes", n, maxSegment)
	case seg == "." || seg == "..":
		return badPath("segment %d is a step to another folder", n)
	case !utf8.ValidString(seg):
		return badPath("segment %d is not UTF-8", n)
	case strings.ContainsFunc(seg, unicode.IsControl):
		return badPath("segment %d has control characters", n)
	}
	return nil
}

func badPath(format string, args ...any) Fault {
	return Faultf(http.StatusBadRequest, "InvalidRequestUri", "The path cannot be used: "+format+".", args...)
}
