package containerstream

import (
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// words splits a command as a shell does: at blanks, with quotes and backslashes.
// Nothing is replaced.
func words(text string) ([]string, error) {
	var all []string
	var word strings.Builder
	var quote rune
	begun, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			begun, escaped = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			begun, quote = true, c
		case quote == 0 && strings.ContainsRune(" \t\r\n", c):
			if begun {
				all = append(all, word.String())
				word.Reset()
			}
			begun = false
		default:
			begun = true
			word.WriteRune(c)
		}
	}
	if quote != 0 || escaped {
		return nil, problem.New(problem.Invalid, "the command has a quote or a backslash without its end")
	}
	if begun {
		all = append(all, word.String())
	}
	return all, nil
}
