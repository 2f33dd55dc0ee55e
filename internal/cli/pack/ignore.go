package pack

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

const maxIgnore = 1 << 20

// rule is a line of an ignore file.
type rule struct {
	pattern *regexp.Regexp
	keep    bool // the line begins with "!"
	folders bool // the line ends with "/"
}

// rules are the lines of an ignore file, of which the last that fits counts.
type rules []rule

// readIgnoreFile reads an ignore file; one that is not there has no rules.
func readIgnoreFile(name string) (rules, error) {
	if info, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return nil, nil
	}
	text, err := atomicfile.Read(name, maxIgnore)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, IgnoreFile+" cannot be read", err)
	}
	return parse(string(text)), nil
}

// parse reads the lines of an ignore file as git does: "#" begins a comment, "!"
// takes back, a slash at the end means folders only, one elsewhere ties the
// pattern to the top, "*" and "?" stay within a name, "**" does not.
func parse(text string) rules {
	var list rules
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = trimBlanks(strings.TrimRight(line, "\r\n"))
		if line == "" || line[0] == '#' {
			continue
		}
		var r rule
		if rest, ok := strings.CutPrefix(line, "!"); ok {
			r.keep, line = true, rest
		}
		if rest, ok := strings.CutSuffix(line, "/"); ok {
			r.folders, line = true, rest
		}
		if line == "" {
			continue
		}
		expr, err := regexp.Compile(expression(line))
		if err != nil {
			continue // a pattern that is none fits nothing, as in git
		}
		r.pattern = expr
		list = append(list, r)
	}
	return list
}

// trimBlanks takes blanks off the end of a line unless they are escaped.
func trimBlanks(line string) string {
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = line[:len(line)-1]
	}
	return line
}

// expression makes a regular expression of a pattern.
func expression(pattern string) string {
	var b strings.Builder
	b.WriteString("^")
	if tied := strings.Contains(pattern, "/"); !tied {
		b.WriteString("(?:.*/)?")
	}
	rest := strings.TrimPrefix(pattern, "/")
	for rest != "" {
		switch {
		case rest == "**" || rest == "/**":
			b.WriteString(strings.TrimSuffix(rest, "**") + ".+")
			rest = ""
		case strings.HasPrefix(rest, "**/"):
			b.WriteString("(?:.*/)?")
			rest = rest[3:]
		case strings.HasPrefix(rest, "/**/"):
			b.WriteString("/(?:.*/)?")
			rest = rest[4:]
		default:
			rest = one(&b, rest)
		}
	}
	b.WriteString("$")
	return b.String()
}

// one writes the expression of what a pattern begins with and gives the rest.
func one(b *strings.Builder, rest string) string {
	switch rest[0] {
	case '*':
		b.WriteString("[^/]*")
		return strings.TrimLeft(rest, "*")
	case '?':
		b.WriteString("[^/]")
		return rest[1:]
	case '[':
		if end := strings.IndexByte(rest[1:], ']'); end > 0 {
			class := rest[1 : end+1]
			if class[0] == '!' {
				class = "^" + class[1:]
			}
			b.WriteString("[" + strings.ReplaceAll(class, "[", `\[`) + "]")
			return rest[end+2:]
		}
	case '\\':
		if len(rest) > 1 {
			rest = rest[1:]
		}
	}
	n := 1
	for n < len(rest) && rest[n]&0xc0 == 0x80 {
		n++ // bytes of the same character
	}
	b.WriteString(regexp.QuoteMeta(rest[:n]))
	return rest[n:]
}

// match reports whether a path (with slashes, below the folder) is left out. What
// lies in a folder that is left out is too, whatever else is said of it.
func (l rules) match(name string, isDir bool) bool {
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if l.itself(dir, true) {
			return true
		}
	}
	return l.itself(name, isDir)
}

func (l rules) itself(name string, isDir bool) bool {
	for n := len(l) - 1; n >= 0; n-- {
		if r := l[n]; (isDir || !r.folders) && r.pattern.MatchString(name) {
			return !r.keep
		}
	}
	return false
}
