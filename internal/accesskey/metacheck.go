package accesskey

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

// Limits of metadata.
const (
	MaxNoteLen   = 512 // characters
	MaxOwnerLen  = 256 // characters
	MaxEntries   = 64  // methods, functions, networks
	MaxFormer    = 8   // former values of the master key valid at a time
	MaxRetired   = 32  // former values of any other key
	MaxCount     = 1_000_000_000
	MinRotate    = time.Hour
	MaxRotate    = 10 * 366 * 24 * time.Hour
	MaxRatePer   = 24 * time.Hour
	maxFunctions = 256 // characters of a function's name in a restriction
)

// Overlaps of rotations.
const (
	DefaultOverlap = 24 * time.Hour
	MinOverlap     = time.Second
	MaxOverlap     = 90 * 24 * time.Hour
)

// Validate reports the first member that cannot be set for a key of that kind at
// that time, as a [problem.Invalid] error that begins with the member's name. old
// is the metadata so far: what it has is not judged again, so that a key that has
// expired can still be given a note.
func (m Meta) Validate(kind Kind, old Meta, now time.Time) error {
	if err := m.check(); err != nil {
		return err
	}
	if err := m.checkKind(kind); err != nil {
		return err
	}
	if !m.Expires.IsZero() && !m.Expires.Equal(old.Expires) && !m.Expires.After(now) {
		return field("expires", fmt.Sprintf("%s lies in the past", m.Expires.UTC().Format(time.RFC3339)),
			"give a time to come; to end a key at once, disable or expire it")
	}
	return nil
}

// check reports what is wrong whatever the key and the time.
func (m Meta) check() error {
	for _, err := range []error{
		checkText("note", m.Note, MaxNoteLen), checkText("owner", m.Owner, MaxOwnerLen), checkText("hint", m.Hint, 64),
		m.checkWindow(), checkMethods(m.Methods), checkFunctions(m.Functions), checkNetworks(m.CIDRs),
		m.Rate.check(), m.Quota.check(), m.checkRotation(), m.checkFormer(),
	} {
		if err != nil {
			return err
		}
	}
	if n := len(m.Format()); n > MaxMetaLen {
		return field("metadata", fmt.Sprintf("needs %d bytes", n), fmt.Sprintf("use at most %d in all", MaxMetaLen))
	}
	return nil
}

func field(name, fault, next string) error {
	return problem.New(problem.Invalid, name+": "+fault).WithNext(next)
}

func checkText(name, text string, most int) error {
	if utf8.ValidString(text) && utf8.RuneCountInString(text) <= most && strings.IndexFunc(text, unicode.IsControl) < 0 {
		return nil
	}
	return field(name, "is too long or contains control characters", fmt.Sprintf("use at most %d characters on one line", most))
}

func (m Meta) checkWindow() error {
	names := []string{"created", "notBefore", "expires"}
	for i, t := range []time.Time{m.Created, m.NotBefore, m.Expires} {
		if !t.IsZero() && !storable(t) {
			return field(names[i], "is no time between the years 1 and 9999", "use the form 2030-01-31T00:00:00Z")
		}
	}
	if !m.NotBefore.IsZero() && !m.Expires.IsZero() && m.Retires == "" && !m.NotBefore.Before(m.Expires) {
		return field("notBefore", "does not lie before expires, so the key would never work", "choose an earlier notBefore or a later expires")
	}
	return nil
}

func storable(t time.Time) bool { y := t.UTC().Year(); return y >= 1 && y <= 9999 }

func checkMethods(methods []string) error {
	if len(methods) > MaxEntries {
		return field("methods", "has too many entries", fmt.Sprintf("use at most %d", MaxEntries))
	}
	for i, method := range methods {
		if method == "" || len(method) > 32 || strings.ContainsFunc(method, notToken) {
			return field(fmt.Sprintf("methods[%d]", i), fmt.Sprintf("%q is no HTTP method", clip(method)), "use names like GET or POST")
		}
	}
	return nil
}

func notToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func checkFunctions(functions []string) error {
	if len(functions) > MaxEntries {
		return field("functions", "has too many entries", fmt.Sprintf("use at most %d", MaxEntries))
	}
	for i, name := range functions {
		if name == "" || len(name) > maxFunctions || strings.EqualFold(name, "host") || strings.ContainsFunc(name, notToken) {
			return field(fmt.Sprintf("functions[%d]", i), fmt.Sprintf("%q is no name of a function", clip(name)),
				"use letters, digits, '-' and '_'")
		}
	}
	return nil
}

func checkNetworks(nets []netip.Prefix) error {
	if len(nets) > MaxEntries {
		return field("cidrs", "has too many entries", fmt.Sprintf("use at most %d", MaxEntries))
	}
	for i, p := range nets {
		if !p.IsValid() || p.Addr().Is4In6() {
			return field(fmt.Sprintf("cidrs[%d]", i), "is no network", networkRule)
		}
	}
	return nil
}

const networkRule = "use a network such as 10.0.0.0/8 or 2001:db8::/32, or one address"

// ParseNetworks reads networks, or addresses that each stand for a network of
// their own, as people write them. [problem.Invalid] names the entry at fault.
func ParseNetworks(list []string) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	for i, text := range list {
		text = strings.TrimSpace(text)
		p, err := netip.ParsePrefix(text)
		if a, addrErr := netip.ParseAddr(text); err != nil && addrErr == nil && a.Zone() == "" {
			p, err = a.Unmap().Prefix(a.Unmap().BitLen())
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, field(fmt.Sprintf("cidrs[%d]", i), fmt.Sprintf("%q is no network", clip(text)), networkRule)
		}
		nets = append(nets, p.Masked())
	}
	return nets, nil
}

func (r Rate) check() error {
	switch {
	case r.IsZero():
		return nil
	case r.N < 1 || r.N > MaxCount:
		return field("rate.n", fmt.Sprintf("%d is out of range", r.N), fmt.Sprintf("use 1 to %d uses", MaxCount))
	case r.Per < time.Second || r.Per > MaxRatePer || r.Per/time.Duration(r.N) < 1:
		return field("rate.per", fmt.Sprintf("%v is out of range", r.Per), fmt.Sprintf("use %v to %v", time.Second, MaxRatePer))
	case r.Burst < 0 || r.Burst > MaxCount || int64(r.Per)/int64(r.N) > int64(1<<62)/int64(max(r.Burst, r.N)):
		return field("rate.burst", fmt.Sprintf("%d is out of range", r.Burst), "use 0, for the rate itself, or the uses allowed at once")
	}
	return nil
}

func (q Quota) check() error {
	switch {
	case q.IsZero():
		return nil
	case q.N < 1 || q.N > MaxCount:
		return field("quota.n", fmt.Sprintf("%d is out of range", q.N), fmt.Sprintf("use 1 to %d uses", MaxCount))
	case q.Per != Day && q.Per != Month:
		return field("quota.per", fmt.Sprintf("%q is no period", clip(string(q.Per))), "use day or month")
	}
	return nil
}

func (m Meta) checkRotation() error {
	if m.RotateEvery != 0 && (m.RotateEvery < MinRotate || m.RotateEvery > MaxRotate) {
		return field("rotateEvery", fmt.Sprintf("%v is out of range", m.RotateEvery), fmt.Sprintf("use %v to %v", MinRotate, MaxRotate))
	}
	if err := CheckOverlap(m.Overlap); err != nil {
		return err
	}
	overlap := m.Overlap
	if overlap == 0 {
		overlap = DefaultOverlap
	}
	if m.RotateEvery != 0 && overlap >= m.RotateEvery {
		return field("overlap", fmt.Sprintf("%v is not shorter than rotateEvery", overlap), "choose a shorter overlap, so that old values end before the next rotation")
	}
	return nil
}

// CheckOverlap reports, as [problem.Invalid], an overlap that no rotation may
// have; 0 stands for the default.
func CheckOverlap(d time.Duration) error {
	if d == 0 || d >= MinOverlap && d <= MaxOverlap {
		return nil
	}
	return field("overlap", fmt.Sprintf("%v is out of range", d), fmt.Sprintf("use %v to %v (%d days)", MinOverlap, MaxOverlap, MaxOverlap/(24*time.Hour)))
}

func (m Meta) checkFormer() error {
	if len(m.Former) > MaxFormer {
		return field("former", "has too many values", fmt.Sprintf("at most %d old values are valid at a time: retire some first", MaxFormer))
	}
	for i, f := range m.Former {
		if !IsVerifier(f.Verifier) || f.Expires.IsZero() || !storable(f.Expires) || !f.Since.IsZero() && !storable(f.Since) {
			return field(fmt.Sprintf("former[%d]", i), "is not complete", "retire the old values of the key")
		}
	}
	return nil
}

// checkKind reports what this kind of key cannot have. The master key is the way
// back in, so nothing may take it out of force as a whole.
func (m Meta) checkKind(kind Kind) error {
	const masterRule = "replace the master key instead: renew it, or rotate it with an overlap"
	switch {
	case kind != Host && len(m.Functions) > 0:
		return field("functions", "only host function keys can be limited to functions", "make the key a key of the function")
	case kind != Master && len(m.Former) > 0:
		return field("former", "is for the master key only", "rotate the key")
	case kind != Master:
		return nil
	case m.Disabled:
		return field("disabled", "the master key cannot be disabled", masterRule)
	case !m.Expires.IsZero():
		return field("expires", "the master key cannot expire", masterRule)
	case !m.NotBefore.IsZero():
		return field("notBefore", "the master key cannot begin later", masterRule)
	case !m.Quota.IsZero():
		return field("quota", "the master key cannot have a quota", "give it a rate")
	}
	return nil
}

func clip(s string) string {
	if r := []rune(s); len(r) > 64 {
		return string(r[:64]) + "…"
	}
	return s
}
