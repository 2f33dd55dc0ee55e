// Package azfkey makes, checks and finds identifiable Azure Functions access
// keys: the keys that open function apps. It owns the format and nothing else;
// it does not know where keys are stored or what a particular key opens. It
// needs only the standard library, so secret scanners can import it.
//
// # The format
//
// A key is 40 bytes, written as 56 characters of base64url with padding:
//
//	bytes   0–32   33 random bytes (264 bits)
//	bytes  33–35   the signature 03 31 6e, which reads "AzFu" in the text
//	bytes  36–39   a Marvin32 checksum of bytes 0–35, little-endian
//
// Because 33 bytes are exactly 44 characters, the signature always stands in
// the text as it is, at characters 45–48. The checksum's seed depends on what
// the key is for, so the text alone tells a master key from a system key and
// from a function key; host function keys (which open every function of an app)
// share the seed of function keys. The checksum is not secret: it tells keys
// from noise, and says nothing about whether any app accepts the key.
//
// Older keys and keys chosen by people have no such mark. They are valid keys
// for an app, but nothing in this package recognises them.
//
// # For authors of secret scanners
//
// Use [Find] on a text at hand and [Finder] on a stream. Both search for the
// four signature characters and look closer only there, so most of the time is
// spent in [bytes.Index]. A text is reported when
//
//   - it has the shape [A-Za-z0-9_-]{44}AzFu[A-Za-z0-9_-]{5}[AQgw]==,
//   - it stands alone: no letter, digit, "_" or "-" right before or after it, and
//   - its checksum is right for one of the three kinds.
//
// This is the published detection rule SEC101/158 ("AzureFunctionIdentifiableKey")
// at high confidence: by chance, one in 1.4 billion of the texts of the right
// shape passes. Two things are found beyond that rule, because they occur in
// leaks: keys whose padding was cut off or escaped (a URL has "%3D%3D"), and
// keys right after an escape sequence that ends in a letter or digit ("%3D",
// "\n", "\u003d").
//
// [Check], [Identify] and [Canonical] judge a text that is meant to be a key.
// Any input is allowed everywhere; what is not a key gives false, never a panic.
package azfkey

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sizes of a key: Size in bytes, TextLen in characters with padding.
const (
	Size    = 40
	TextLen = 56

	randomLen   = 33          // bytes 0–32
	checkedLen  = Size - 4    // what the checksum covers
	unpaddedLen = TextLen - 2 // characters that carry something
	anchorAt    = 44          // where the signature stands in the text
	anchor      = "AzFu"      // base64 of the three signature bytes
	lastChars   = "AQgw"      // the last character carries two bits; these leave the rest zero
	padding     = "=="
	halfPadded  = unpaddedLen + 1
)

// Kind says what a key is for. The zero Kind is no kind.
type Kind uint8

// The three kinds that the checksum tells apart.
const (
	Master   Kind = iota + 1 // opens everything in an app
	System                   // opens the webhook of one extension
	Function                 // opens one function or, as a host function key, every function
)

// Kinds gives the three kinds.
func Kinds() [3]Kind { return [...]Kind{Master, System, Function} }

var kindNames = [...]string{"unknown", "master", "system", "function"}

// String gives "master", "system" or "function".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[0]
}

// seed gives the checksum seed of a kind; false for anything but the three.
// In ASCII the seeds read "Master00", "System00" and "Functi00".
func (k Kind) seed() (uint64, bool) {
	switch k {
	case Master:
		return 0x4d61737465723030, true
	case System:
		return 0x53797374656d3030, true
	case Function:
		return 0x46756e6374693030, true
	default:
		return 0, false
	}
}

// ErrKind is what [Generate] returns for a Kind that is none of the three.
var ErrKind = errors.New("no such kind of access key")

// Generate makes a new key from [crypto/rand]: 56 characters, padded and
// canonical. The key is valid for its own kind and, with certainty, for no
// other. It is safe for concurrent use.
func Generate(k Kind) (string, error) {
	for {
		var random [randomLen]byte
		if _, err := rand.Read(random[:]); err != nil {
			return "", err
		}
		text, err := assemble(random, k)
		if err != nil || onlyKind(text, k) {
			return text, err
		}
	}
}

// onlyKind reports whether k is the one kind a key is valid for. One key in two
// billion would be valid for a second kind as well; those are not used.
func onlyKind(text string, k Kind) bool {
	for _, other := range Kinds() {
		if Check(text, other) != (other == k) {
			return false
		}
	}
	return true
}

// assemble puts a key of a kind together from its random part.
func assemble(random [randomLen]byte, k Kind) (string, error) {
	seed, ok := k.seed()
	if !ok {
		return "", ErrKind
	}
	key := append(make([]byte, 0, Size), random[:]...)
	key = append(key, 0x03, 0x31, 0x6e)
	key = binary.LittleEndian.AppendUint32(key, checksum(key, seed))
	return base64.URLEncoding.EncodeToString(key), nil
}

// Check reports whether text is a key of kind k. As the platform's own check
// does, it tolerates missing padding and stray bits in the last character, and
// wants the URL alphabet ("-" and "_"); unlike it, it wants exactly 40 bytes.
func Check(text string, k Kind) bool {
	key, ok := decode(text)
	return ok && validFor(&key, k)
}

// Identify tells the kind of a key by its checksum. It is as tolerant as
// [Check]; false means that text is not an identifiable key.
func Identify(text string) (Kind, bool) {
	key, ok := decode(text)
	if !ok {
		return 0, false
	}
	return kindOf(&key)
}

// Canonical reports whether text is a key written exactly as [Generate] writes
// it: padded, and without stray bits in the last character.
func Canonical(text string) bool {
	if len(text) != TextLen || !strings.HasSuffix(text, padding) {
		return false
	}
	if strings.IndexByte(lastChars, text[unpaddedLen-1]) < 0 {
		return false
	}
	_, ok := Identify(text)
	return ok
}

// decode reads the 40 bytes of a key whose signature is in place.
func decode(text string) (key [Size]byte, ok bool) {
	switch {
	case len(text) == TextLen && text[unpaddedLen:] == padding:
	case len(text) == halfPadded && text[unpaddedLen] == '=':
	case len(text) == unpaddedLen:
	default:
		return key, false
	}
	if text[anchorAt:anchorAt+len(anchor)] != anchor {
		return key, false
	}
	var raw [unpaddedLen]byte
	copy(raw[:], text)
	return key, decodeRaw(&key, raw[:])
}

// decodeRaw decodes 54 characters. The standard decoder skips line ends wherever
// they stand; the number of bytes shows that.
func decodeRaw(key *[Size]byte, raw []byte) bool {
	n, err := base64.RawURLEncoding.Decode(key[:], raw)
	return err == nil && n == Size
}

func kindOf(key *[Size]byte) (Kind, bool) {
	for _, k := range Kinds() {
		if validFor(key, k) {
			return k, true
		}
	}
	return 0, false
}

func validFor(key *[Size]byte, k Kind) bool {
	seed, ok := k.seed()
	return ok && checksum(key[:checkedLen], seed) == binary.LittleEndian.Uint32(key[checkedLen:])
}

// isWord reports whether c belongs to the base64url alphabet.
func isWord(c byte) bool { return wordChars[c] }

var wordChars = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		set[c] = true
	}
	return set
}()

// Mask makes a text that says which secret is meant without giving it away:
// its first four characters and its length, as in "dddd…(56)". Of secrets
// shorter than 32 characters fewer are shown, an eighth at most. The text may be
// anything; characters that a terminal would not print show as "?".
func Mask(text string) string {
	length := utf8.RuneCountInString(text)
	shown := min(4, length/8)
	var b strings.Builder
	for _, r := range text {
		if shown == 0 {
			break
		}
		shown--
		if !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String() + "…(" + strconv.Itoa(length) + ")"
}
