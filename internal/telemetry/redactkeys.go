package telemetry

import "strings"

// An identifiable access key is 44 random characters, this signature, a
// checksum of 6 characters and two padding characters, 56 in all.
const (
	keySignature = "AzFu"
	keyBefore    = 44
	keyAfter     = 6
)

// redactKeys hides identifiable access keys wherever they stand in s, with or
// without their padding. Without one it returns its argument.
func redactKeys(s string) string {
	var b strings.Builder
	done, from := 0, 0
	for {
		i := strings.Index(s[from:], keySignature)
		if i < 0 {
			break
		}
		at := from + i
		from = at + len(keySignature)
		start, end := at-keyBefore, from+keyAfter
		if start < done || end > len(s) || !urlSafe(s[start:end]) {
			continue
		}
		b.WriteString(s[done:start])
		b.WriteString(mask)
		for end < len(s) && s[end] == '=' {
			end++
		}
		done, from = end, end
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// urlSafe reports whether s consists of the base64url alphabet.
func urlSafe(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// redactUserInfo hides what stands between "://" and "@" of each URL in s.
// Without such a thing it returns its argument.
func redactUserInfo(s string) string {
	const scheme = "://"
	var b strings.Builder
	done, from := 0, 0
	for {
		i := strings.Index(s[from:], scheme)
		if i < 0 {
			break
		}
		start := from + i + len(scheme)
		end := start + authorityLength(s[start:])
		from = end
		if at := strings.LastIndexByte(s[start:end], '@'); at > 0 {
			b.WriteString(s[done:start])
			b.WriteString(mask)
			done = start + at
		}
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// authorityLength gives how much of s can be the authority of a URL.
func authorityLength(s string) int {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ', c == '/', c == '?', c == '#', c == '"', c == '\'', c == '<', c == '>':
			return i
		}
	}
	return len(s)
}
