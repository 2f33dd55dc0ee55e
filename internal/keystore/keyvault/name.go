package keyvault

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

// Parts of secrets' names. The functions host ignores what begins with "latchkey".
const (
	separator   = "--"
	hostPart    = "host"
	fnPart      = "function"
	masterPart  = "masterKey"
	hostKeyPart = "functionKey"
	systemPart  = "systemKey"
	ownPart     = "latchkey"
	docPart     = "document"
	writerPart  = "writer"

	maxName = 127 // characters a vault allows
)

// place is what a secret's name stands for: a key of a document, or what the
// document has besides keys (kind None).
type place struct {
	doc  keystore.Doc
	kind accesskey.Kind
	key  string
}

// secretName gives the name of the secret of a place, without a prefix.
func (p place) secretName() string {
	switch p.kind {
	case accesskey.Master:
		return hostPart + separator + masterPart + separator + accesskey.MasterStoredName
	case accesskey.Host:
		return hostPart + separator + hostKeyPart + separator + escape(p.key)
	case accesskey.System:
		return hostPart + separator + systemPart + separator + escape(p.key)
	case accesskey.Function:
		return fnPart + separator + escape(string(p.doc)) + separator + escape(p.key)
	default:
		return ownPart + separator + docPart + separator + escape(string(p.doc))
	}
}

// parseName tells what a secret stands for by its name without a prefix, ignoring
// case as vaults do. Every part ends with its separator: a function's keys are
// never taken for those of another one whose name only begins alike.
func parseName(name string) (place, bool) {
	if len(name) > maxName || !secretForm.MatchString(name) {
		return place{}, false
	}
	first, rest, _ := strings.Cut(name, separator)
	switch strings.ToLower(first) {
	case hostPart:
		return parseHost(rest)
	case fnPart:
		function, key, ok := strings.Cut(rest, separator) // escaped text never has two '-' in a row
		doc := keystore.FunctionDoc(unescape(function))
		p := place{doc, accesskey.Function, unescape(key)}
		return p, ok && key != "" && !doc.IsHost() && keystore.CheckDoc(doc) == nil
	case ownPart:
		kind, doc, _ := strings.Cut(rest, separator)
		p := place{doc: keystore.FunctionDoc(unescape(doc))}
		return p, strings.EqualFold(kind, docPart) && keystore.CheckDoc(p.doc) == nil
	}
	return place{}, false
}

func parseHost(rest string) (place, bool) {
	list, key, _ := strings.Cut(rest, separator)
	p := place{doc: keystore.HostDoc, key: unescape(key)}
	switch strings.ToLower(list) {
	case strings.ToLower(masterPart):
		p.kind = accesskey.Master
		return p, strings.EqualFold(key, accesskey.MasterStoredName)
	case strings.ToLower(hostKeyPart):
		p.kind = accesskey.Host
	case strings.ToLower(systemPart):
		p.kind = accesskey.System
	default:
		return place{}, false
	}
	return p, key != ""
}

// escape keeps ASCII letters and digits and writes every other UTF-16 unit as '-'
// and its decimal code of at least three digits, as the functions host does.
func escape(s string) string {
	var b strings.Builder
	for _, c := range utf16.Encode([]rune(s)) {
		if c < 0x80 && alnum(byte(c)) {
			b.WriteByte(byte(c))
		} else {
			fmt.Fprintf(&b, "-%03d", c)
		}
	}
	return b.String()
}

// unescape is the host's inverse: '-' and three digits are a character. It does not
// undo what escape makes of characters above 999; the tag with a key's name does.
func unescape(s string) string {
	var units []uint16
	for i := 0; i < len(s); i++ {
		if s[i] == '-' && i+4 <= len(s) && digits(s[i+1:i+4]) {
			units = append(units, uint16(s[i+1]-'0')*100+uint16(s[i+2]-'0')*10+uint16(s[i+3]-'0'))
			i += 3
			continue
		}
		units = append(units, uint16(s[i]))
	}
	return string(utf16.Decode(units))
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }
