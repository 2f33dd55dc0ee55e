// Package text owns what the portal says, in every language it speaks: one file
// of texts each, of which that in English is complete by definition. Values that
// are put into a text are isolated from it, so that the direction of a name never
// turns the sentence around it. It does not know pages.
package text

import (
	"embed"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed *.json
var files embed.FS

// tags are the languages there are; the first is for those who want none of them.
var tags = []string{"en", "zh-TW"}

// Catalogue has the texts. It is safe for concurrent use.
type Catalogue struct{ languages []Language }

// Language has the texts of one language.
type Language struct {
	Tag    string // as in the attribute lang
	texts  map[string]string
	others map[string]string // of the first language
}

// Load reads the texts that the program carries.
func Load() (*Catalogue, error) {
	c := &Catalogue{}
	for _, tag := range tags {
		raw, err := files.ReadFile(tag + ".json")
		if err != nil {
			return nil, err
		}
		l := Language{Tag: tag}
		if err := json.Unmarshal(raw, &l.texts); err != nil {
			return nil, problem.Wrap(problem.Internal, "the texts in "+tag+" cannot be read", err)
		}
		c.languages = append(c.languages, l)
	}
	for i := range c.languages {
		c.languages[i].others = c.languages[0].texts
	}
	return c, nil
}

// Languages gives all of them.
func (c *Catalogue) Languages() []Language { return c.languages }

// Pick chooses a language: the one that was chosen by its tag, or the one that suits
// an Accept-Language field best.
func (c *Catalogue) Pick(chosen, accept string) Language {
	for _, l := range c.languages {
		if strings.EqualFold(l.Tag, chosen) {
			return l
		}
	}
	for _, tag := range wanted(accept) {
		for _, l := range c.languages {
			if suits(l.Tag, tag) {
				return l
			}
		}
	}
	return c.languages[0]
}

// maxAccept bounds how much of the field is read.
const maxAccept = 500

// wanted gives the tags of an Accept-Language field, most wanted first.
func wanted(accept string) []string {
	type choice struct {
		tag string
		q   float64
	}
	var list []choice
	if len(accept) > maxAccept {
		accept = accept[:maxAccept]
	}
	for part := range strings.SplitSeq(accept, ",") {
		tag, rest, _ := strings.Cut(strings.TrimSpace(part), ";")
		c := choice{strings.TrimSpace(tag), 1}
		if text, is := strings.CutPrefix(strings.TrimSpace(rest), "q="); is {
			c.q, _ = strconv.ParseFloat(text, 64) // what is no number is wanted least
		}
		if c.tag != "" && c.q > 0 {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b choice) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = c.tag
	}
	return out
}

// suits reports whether texts in one language are for those who want another: the
// same, or English of any kind, or Chinese in the traditional script.
func suits(have, want string) bool {
	want = strings.ToLower(want)
	switch {
	case strings.EqualFold(have, want):
		return true
	case have == "zh-TW":
		return strings.HasPrefix(want, "zh-hant") || want == "zh-hk" || want == "zh-mo"
	}
	return strings.HasPrefix(want, strings.ToLower(have)+"-")
}

func (l Language) find(key string) string {
	if t, ok := l.texts[key]; ok {
		return t
	}
	if t, ok := l.others[key]; ok {
		return t
	}
	return "[" + key + "]"
}

// Has reports whether there is a text.
func (l Language) Has(key string) bool { _, ok := l.others[key]; return ok }

// Isolates, for places where there can be no elements.
const (
	firstStrong = "\u2068"
	popIsolate  = "\u2069"
)

// Plain gives a text with values in place of {name}, for attributes and titles.
// Values come in pairs: name, value.
func (l Language) Plain(key string, pairs ...any) string {
	return fill(l.find(key), pairs, func(v string) string { return firstStrong + v + popIsolate })
}

// HTML is Plain for the body of a page: values are escaped and isolated. One that
// is HTML already is put in as it is.
func (l Language) HTML(key string, pairs ...any) template.HTML {
	text := html.EscapeString(l.find(key))
	for i := 0; i+1 < len(pairs); i += 2 {
		if _, is := pairs[i+1].(template.HTML); !is {
			pairs[i+1] = template.HTML("<bdi>" + html.EscapeString(fmt.Sprint(pairs[i+1])) + "</bdi>") //nolint:gosec // it is escaped
		}
	}
	return template.HTML(fill(text, pairs, func(v string) string { return v })) //nolint:gosec // all of it is escaped
}

// fill replaces in one pass: what a value holds is not looked at again.
func fill(text string, pairs []any, wrap func(string) string) string {
	if len(pairs) < 2 {
		return text
	}
	var list []string
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, fmt.Sprintf("{%v}", pairs[i]), wrap(fmt.Sprint(pairs[i+1])))
	}
	return strings.NewReplacer(list...).Replace(text)
}
