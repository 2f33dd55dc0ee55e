package trust

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Entry is a line of a file of host entries.
type Entry struct {
	Address netip.Addr
	Names   []string
}

// String gives the line.
func (e Entry) String() string { return e.Address.String() + " " + strings.Join(e.Names, " ") }

const (
	markBegin = "# >>> latchkey "
	markEnd   = "# <<< latchkey "
	markNote  = " (written by latchkey trust hosts --sync, removed by latchkey trust uninstall)"

	maxName  = 253
	maxLabel = 63
)

// AppEntries gives the entries that apps need: their own host and that of their
// deployment endpoint. It returns problem.Invalid for what cannot be a host name,
// so that no name brings other lines along.
func AppEntries(address netip.Addr, domain string, apps []string) ([]Entry, error) {
	return entriesOf(address, apps, domain, "scm."+domain)
}

// VaultEntries is [AppEntries] for vaults.
func VaultEntries(address netip.Addr, domain string, vaults []string) ([]Entry, error) {
	return entriesOf(address, vaults, "vault."+domain)
}

// entriesOf gives an entry for each name: it has a host in each domain.
func entriesOf(address netip.Addr, names []string, domains ...string) ([]Entry, error) {
	if !address.IsValid() || address.Zone() != "" {
		return nil, problem.New(problem.Invalid, "the node's address is missing or has a zone")
	}
	entries := make([]Entry, 0, len(names))
	for _, name := range names {
		e := Entry{Address: address}
		for _, domain := range domains {
			host := strings.ToLower(name) + "." + domain
			if strings.Contains(name, ".") || !isHostName(host) {
				return nil, problem.New(problem.Invalid, fmt.Sprintf("%q makes no host name", name))
			}
			e.Names = append(e.Names, host)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Names[0], b.Names[0]) })
	return slices.CompactFunc(entries, func(a, b Entry) bool { return a.Names[0] == b.Names[0] }), nil
}

func isHostName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// Block is the part of a file of host entries between an installation's marks.
type Block struct {
	ID      string
	Entries []Entry
	begin   int // offsets of its first byte, and of the first one after it
	end     int
}

// Blocks finds the marked blocks of all installations. It returns problem.Invalid,
// naming the line, if marks are not in pairs: nobody can tell then whose lines are
// whose.
func Blocks(text []byte) ([]Block, error) {
	var blocks []Block
	open, offset, number := -1, 0, 0
	for line := range bytes.Lines(text) {
		number++
		begin, isBegin := markedID(line, markBegin)
		end, isEnd := markedID(line, markEnd)
		switch {
		case isBegin && open < 0 && !slices.ContainsFunc(blocks, func(b Block) bool { return b.ID == begin }):
			blocks, open = append(blocks, Block{ID: begin, begin: offset}), number
		case isEnd && open >= 0 && blocks[len(blocks)-1].ID == end:
			blocks[len(blocks)-1].end, open = offset+len(line), -1
		case isBegin || isEnd:
			return nil, brokenBlock(number)
		case open >= 0:
			if e, ok := parseEntry(line); ok {
				blocks[len(blocks)-1].Entries = append(blocks[len(blocks)-1].Entries, e)
			}
		}
		offset += len(line)
	}
	if open >= 0 {
		return nil, brokenBlock(open)
	}
	return blocks, nil
}

func brokenBlock(line int) error {
	return problem.New(problem.Invalid, fmt.Sprintf("the marks of latchkey's entries are damaged at line %d of the file of host entries; nothing was changed", line)).
		WithNext("remove the lines between \"" + strings.TrimSpace(markBegin) + "\" and \"" + strings.TrimSpace(markEnd) + "\" and both marks by hand, then run the command again")
}

func markedID(line []byte, mark string) (string, bool) {
	rest, ok := strings.CutPrefix(string(line), mark)
	if !ok {
		return "", false
	}
	id, _, _ := strings.Cut(strings.TrimRight(rest, "\r\n"), " ")
	return id, true
}

// parseEntry reads a line; comments and what is no entry are none.
func parseEntry(line []byte) (Entry, bool) {
	text, _, _ := strings.Cut(string(line), "#")
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return Entry{}, false
	}
	address, err := netip.ParseAddr(fields[0])
	if err != nil {
		return Entry{}, false
	}
	for i, name := range fields {
		fields[i] = strings.ToLower(name)
	}
	return Entry{address, fields[1:]}, true
}

// Resolve gives the address that a file of host entries has for each name: the
// first one counts, as for resolvers.
func Resolve(text []byte) map[string]netip.Addr {
	known := map[string]netip.Addr{}
	for line := range bytes.Lines(text) {
		e, ok := parseEntry(line)
		if !ok {
			continue
		}
		for _, name := range e.Names {
			if _, ok := known[name]; !ok {
				known[name] = e.Address
			}
		}
	}
	return known
}

// WithBlock gives the text with the block of an installation made, renewed in its
// place, or, with no entries, removed. Everything outside of it stays as it is; a
// last line without its end gets one before the first block.
func WithBlock(text []byte, id string, entries []Entry) ([]byte, error) {
	blocks, err := Blocks(text)
	if err != nil {
		return nil, err
	}
	begin, end := len(text), len(text)
	for _, b := range blocks {
		if b.ID == id {
			begin, end = b.begin, b.end
		}
	}
	out := append([]byte{}, text[:begin]...)
	if len(entries) > 0 {
		if begin > 0 && text[begin-1] != '\n' {
			out = append(out, '\n')
		}
		out = append(out, markBegin+id+markNote+"\n"...)
		for _, e := range entries {
			out = append(out, e.String()+"\n"...)
		}
		out = append(out, markEnd+id+"\n"...)
	}
	return append(out, text[end:]...), nil
}
