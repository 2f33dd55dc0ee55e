package keyvault

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Tags of the secrets we write. Tags with other names are others' and are kept.
const (
	appTag   = "latchkey-app"   // whose secret it is
	writeTag = "latchkey-write" // which update wrote it
	orderTag = "latchkey-order" // place in its list, from 1
	nameTag  = "latchkey-name"  // the key's name, of which the secret's own may not tell all
	dataTag  = "latchkey"       // extra members as JSON; cut up: latchkey-1, latchkey-2 …
	claimTag = "latchkey-claim" // of a writer's secret: what it is at, or idle

	maxTags = 15
	idle    = "-"
)

// labels is what our tags say of a key.
type labels struct {
	app   string
	write string
	order int
	name  string // "" for what the secret's own says
	extra map[string][]byte
}

// pack puts labels and others' tags together; ErrInvalid if they do not fit.
func (l labels) pack(others map[string]string) (map[string]string, error) {
	tags := map[string]string{}
	for name, value := range others {
		if !ours(name) {
			tags[name] = value
		}
	}
	set := func(name, value string) {
		if value != "" {
			tags[name] = value
		}
	}
	set(appTag, l.app)
	set(writeTag, l.write)
	set(nameTag, l.name)
	if l.order > 0 {
		set(orderTag, strconv.Itoa(l.order))
	}
	pieces := cut(encodeExtra(l.extra))
	for i, piece := range pieces {
		tags[dataName(i, len(pieces))] = piece
	}
	if len(tags) > maxTags || length(l.name) > maxTag {
		return nil, problem.New(keystore.ErrInvalid, "what is noted with it does not fit into the "+strconv.Itoa(maxTags)+" tags of a secret").
			WithNext("shorten notes and names; there is room for about 2,800 characters")
	}
	return tags, nil
}

// ours reports whether a tag is one of ours, ignoring case as the portal may.
func ours(name string) bool {
	name = strings.ToLower(name)
	return name == dataTag || strings.HasPrefix(name, dataTag+"-")
}

// unpack reads tags; ErrUndecryptable if they are damaged.
func unpack(tags map[string]string) (labels, error) {
	l := labels{app: tags[appTag], write: tags[writeTag], name: tags[nameTag]}
	if text, ok := tags[orderTag]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return l, damaged("tag " + orderTag + " is not a number")
		}
		l.order = n
	}
	var err error
	l.extra, err = unpackExtra(tags)
	return l, err
}

func unpackExtra(tags map[string]string) (map[string][]byte, error) {
	text, single := tags[dataTag]
	if !single {
		var b strings.Builder
		for i := range maxTags {
			b.WriteString(tags[dataTag+"-"+strconv.Itoa(i+1)])
		}
		if text = b.String(); text == "" {
			return nil, nil
		}
	}
	extra, err := decodeExtra([]byte(text))
	if err != nil {
		return nil, damaged("what is noted in tags " + dataTag + "… is not JSON")
	}
	return extra, nil
}

func damaged(what string) error {
	return problem.New(keystore.ErrUndecryptable, what).WithNext("correct the secret's tags, or remove those that begin with latchkey: limits noted there are lost then")
}

func dataName(i, of int) string {
	if of == 1 {
		return dataTag
	}
	return dataTag + "-" + strconv.Itoa(i+1)
}

// encodeExtra writes members as one compact JSON object, byte for byte as they
// are, in the order of their names; "" for none.
func encodeExtra(extra map[string][]byte) string {
	if len(extra) == 0 {
		return ""
	}
	var b bytes.Buffer
	for i, name := range slices.Sorted(maps.Keys(extra)) {
		b.WriteByte("{,"[min(i, 1)])
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(name) // a string can always be encoded
		b.Truncate(b.Len() - 1)
		b.WriteByte(':')
		b.Write(extra[name])
	}
	return b.String() + "}"
}

func decodeExtra(text []byte) (map[string][]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	var extra map[string][]byte
	for name, raw := range members {
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return nil, err
		}
		if extra == nil {
			extra = map[string][]byte{}
		}
		extra[name] = b.Bytes()
	}
	return extra, nil
}

// cut gives a text in pieces that fit into tags. None begins or ends with a space,
// which is easily lost on the way.
func cut(text string) []string {
	var pieces []string
	runes := []rune(text)
	for len(runes) > 0 {
		n, units := 0, 0
		for n < len(runes) && units+utf16.RuneLen(runes[n]) <= maxTag {
			units += utf16.RuneLen(runes[n])
			n++
		}
		whole := n
		for n > 1 && n < len(runes) && (runes[n-1] == ' ' || runes[n] == ' ') {
			n--
		}
		if n <= 1 {
			n = whole
		}
		pieces, runes = append(pieces, string(runes[:n])), runes[n:]
	}
	return pieces
}

// length counts as a vault does.
func length(s string) int { return len(utf16.Encode([]rune(s))) }
