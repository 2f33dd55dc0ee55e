package query

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

type kind uint8

const (
	end kind = iota
	name
	literal // in quotes
	number
	symbol
)

type token struct {
	kind kind
	text string
	at   int // byte position
}

// symbols that have two characters; all others have one.
var symbols = []string{"==", "=~", "!=", "!~", "<=", ">="}

// lex cuts a text into tokens. doubled says that a quote within quotes is written
// twice; otherwise a backslash stands before it.
func lex(text string, doubled bool) ([]token, error) {
	if len(text) > maxText {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("a query has at most %d bytes, not %d", maxText, len(text)))
	}
	if !utf8.ValidString(text) {
		return nil, problem.New(problem.Invalid, "the query is not UTF-8")
	}
	var tokens []token
	for at := 0; at < len(text); {
		rest := text[at:]
		r, size := utf8.DecodeRuneInString(rest)
		if unicode.IsSpace(r) {
			at += size
			continue
		}
		t, length, err := lexOne(rest, r, doubled)
		if err != nil {
			return nil, err
		}
		t.at = at
		tokens = append(tokens, t)
		at += length
	}
	return tokens, nil
}

func lexOne(rest string, r rune, doubled bool) (token, int, error) {
	switch {
	case r == '\'' || r == '"':
		text, length, closed := quoted(rest, doubled)
		if !closed {
			return token{}, 0, problem.New(problem.Invalid, "a text in the query has no closing quote")
		}
		return token{kind: literal, text: text}, length, nil
	case r >= '0' && r <= '9':
		length := span(rest, func(r rune) bool { return r >= '0' && r <= '9' })
		return token{kind: number, text: rest[:length]}, length, nil
	case isNameRune(r):
		length := span(rest, isNameRune)
		return token{kind: name, text: rest[:length]}, length, nil
	}
	for _, s := range symbols {
		if strings.HasPrefix(rest, s) {
			return token{kind: symbol, text: s}, len(s), nil
		}
	}
	size := utf8.RuneLen(r)
	return token{kind: symbol, text: rest[:size]}, size, nil
}

// isNameRune takes a path such as properties.InstrumentationKey for one name.
func isNameRune(r rune) bool {
	return r == '_' || r == '.' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

func span(s string, in func(rune) bool) int {
	for i, r := range s {
		if !in(r) {
			return i
		}
	}
	return len(s)
}

// quoted reads a text in quotes and gives how long it is with them.
func quoted(s string, doubled bool) (text string, length int, closed bool) {
	var b strings.Builder
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote && doubled && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return b.String(), i + 1, true
		case s[i] == '\\' && !doubled && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", 0, false
}
