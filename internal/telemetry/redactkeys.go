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
// without their padding, percent-encoded or not. Without one it returns its
// argument.
func redactKeys(s string) string {
	start, end, ok := findKey(s, 0)
	if !ok {
		return s
	}
	var b strings.Builder
	done := 0
	for ok {
		b.WriteString(s[done:start])
		b.WriteString(mask)
		done = end
		start, end, ok = findKey(s, done)
	}
	b.WriteString(s[done:])
	return b.String()
}

// findKey gives the place of the next identifiable key in s, padding included,
// looking from done on, where the key before ended.
func findKey(s string, done int) (start, end int, ok bool) {
	if len(s) < keyBefore+len(keySignature)+keyAfter {
		return 0, 0, false // as nearly all fields of a log line are
	}
	for from := done; ; {
		i := strings.Index(s[from:], keySignature)
		if i < 0 {
			return 0, 0, false
		}
		at := from + i
		from = at + len(keySignature)
		if end, ok = keyEnd(s, from); !ok {
			continue
		}
		if start, ok = keyStart(s, at, done); ok {
			return start, end, true
		}
	}
}

// keyEnd gives the end of a key whose signature ends at i.
func keyEnd(s string, i int) (end int, ok bool) {
	for range keyAfter {
		if i == len(s) {
			return 0, false
		}
		c, n := unit(s[i:])
		if !urlSafe(c) {
			return 0, false
		}
		i += n
	}
	for i < len(s) && s[i] == '=' {
		i++
	}
	return i, true
}

// keyStart gives the start of a key whose signature begins at i. A hexadecimal
// digit can be one of the key or the end of an escape: the longer reading counts.
func keyStart(s string, i, done int) (start int, ok bool) {
	plain, ok1 := walkBack(s, i, done, false)
	escaped, ok2 := walkBack(s, i, done, true)
	if ok1 && (!ok2 || plain < escaped) {
		return plain, true
	}
	return escaped, ok2
}

// walkBack goes back from i over as many characters as a key has before its
// signature. Fewer do right behind another key: the signature that was found
// first may be a random part of that one.
func walkBack(s string, i, done int, escapes bool) (start int, ok bool) {
	for range keyBefore {
		switch n := escapeBefore(s[done:i]); {
		case i == done:
			return i, done > 0
		case escapes && n > 0:
			i -= n
		case urlSafe(s[i-1]):
			i--
		default:
			return 0, false
		}
	}
	return i, true
}

// escapeBefore gives the length of the percent escape, of any depth, at the end
// of s that stands for a character of a key, or 0.
func escapeBefore(s string) int {
	at := len(s) - 2
	if at < 1 {
		return 0
	}
	c, ok := hexPair(s, at)
	if !ok || !urlSafe(c) {
		return 0
	}
	for at > 2 && s[at-2:at] == "25" {
		at -= 2
	}
	if s[at-1] != '%' {
		return 0
	}
	return len(s) - at + 1
}

// urlSafe reports whether c belongs to the base64url alphabet.
func urlSafe(c byte) bool {
	return 'a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
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
