package funcapp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of every JSON file of an app. The stock host has none on size; 64 is
// the nesting limit of its parser.
const (
	maxFileSize = 1 << 20
	maxDepth    = 64
)

// document is one parsed app file.
type document struct {
	root *node
	// text is the file as read without byte order mark; comments and trailing
	// commas are spaces, so it is valid JSON with unchanged line numbers.
	text json.RawMessage
}

// issue is a fault of a file's text, not yet tied to a file or function.
type issue struct {
	line          int
	message, next string
}

// nameRule says when two member names of one object are the same.
type nameRule bool

const (
	namesFold  nameRule = false // ignoring case: configuration
	namesExact nameRule = true  // as written: local.settings.json holds environment variables
)

// parseDocument reads JSON the way the stock host does: a byte order mark,
// comments and trailing commas are accepted. Members given twice are reported
// and the first counts: with two authLevels nobody can tell which was meant.
// The document is nil when the text could not be read at all.
func parseDocument(data []byte, rule nameRule) (*document, []issue) {
	if len(data) > maxFileSize {
		return nil, []issue{{0, fmt.Sprintf("is larger than %d bytes", maxFileSize), "make the file smaller"}}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) {
		return nil, []issue{{lineOf(data, firstInvalid(data)), "is not UTF-8 text", "save the file as UTF-8"}}
	}
	text := blankExtras(data)
	if is, bad := syntaxIssue(text); bad {
		return nil, []issue{is}
	}
	p := newParser(text, rule)
	root, err := p.value(0)
	if err != nil {
		return nil, append(p.issues, issue{p.line(), err.Error(), ""})
	}
	return &document{root: root, text: text}, p.issues
}

// syntaxIssue checks the whole text at once, for the exact place of an error.
func syntaxIssue(text []byte) (issue, bool) {
	if len(bytes.TrimSpace(text)) == 0 {
		return issue{1, "is empty", "write a JSON object into it"}, true
	}
	var all json.RawMessage
	err := json.Unmarshal(text, &all)
	if err == nil {
		return issue{}, false
	}
	line := 0
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line = lineOf(text, max(int(syntax.Offset)-1, 0))
	}
	return issue{line, "is not valid JSON: " + err.Error(), "correct the JSON"}, true
}

// parser turns tokens into nodes.
type parser struct {
	dec    *json.Decoder
	lines  lineIndex
	rule   nameRule
	issues []issue
}

func newParser(text []byte, rule nameRule) *parser {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return &parser{dec: dec, lines: newLineIndex(text), rule: rule}
}

// line gives the line of the token read last (no JSON token spans lines).
func (p *parser) line() int { return p.lines.at(max(int(p.dec.InputOffset())-1, 0)) }

func (p *parser) value(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("is nested deeper than %d levels", maxDepth)
	}
	tok, err := p.dec.Token()
	if err != nil {
		return nil, unexpected(err)
	}
	n := &node{line: p.line()}
	switch t := tok.(type) {
	case json.Delim:
		if t == '{' {
			return n, p.object(n, depth)
		}
		return n, p.list(n, depth)
	case string:
		n.kind, n.text = textNode, t
	case json.Number:
		n.kind, n.text = numberNode, t.String()
	case bool:
		n.kind, n.text = boolNode, strconv.FormatBool(t)
	}
	return n, nil
}

func (p *parser) object(n *node, depth int) error {
	n.kind = objectNode
	seen := map[string]bool{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return unexpected(err)
		}
		name, _ := tok.(string)
		line := p.line()
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		if p.repeated(seen, name, line) {
			continue
		}
		n.members = append(n.members, member{name: name, value: v})
	}
	_, err := p.dec.Token()
	return unexpected(err)
}

func (p *parser) repeated(seen map[string]bool, name string, line int) bool {
	key := name
	if p.rule == namesFold {
		key = strings.ToLower(name)
	}
	if seen[key] {
		p.issues = append(p.issues, issue{line, "member " + quote(name) + " is given twice", "remove one of the two"})
		return true
	}
	seen[key] = true
	return false
}

func (p *parser) list(n *node, depth int) error {
	n.kind = listNode
	for p.dec.More() {
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	_, err := p.dec.Token()
	return unexpected(err)
}

// unexpected words a decoder error; the text was checked, so it is rare.
func unexpected(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return errors.New("is not valid JSON: it ends too early")
	}
	return fmt.Errorf("is not valid JSON: %w", err)
}
