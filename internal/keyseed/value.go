package keyseed

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

// Sources give values that are not written with the entries. Errors must not
// contain values.
type Sources struct {
	Env       func(name string) string
	File      func(path string) ([]byte, error)
	Reference func(ctx context.Context, text string) (string, error) // nil: nobody reads vaults here
}

// Key is a declared key with its value at hand.
type Key struct {
	App     string
	Section keyring.Section
	keyring.Declared
	Label string // the key, for people
	stamp [sha256.Size]byte
}

// Equal reports whether two lists declare the same. It tells a change of what is
// declared from one of the keys.
func Equal(a, b []Key) bool {
	return slices.EqualFunc(a, b, func(x, y Key) bool { return x.stamp == y.stamp })
}

// Format keeps the value out of everything that package fmt prints.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, strings.TrimSpace(k.App+" "+k.Label)) }

// Resolve finds the values of entries that Check found nothing wrong with. What
// could not be found is reported by path, with problem.Invalid or the kind of the
// source's error, and left out.
func Resolve(ctx context.Context, list []Entry, at Place, from Sources) (keys []Key, faults []error) {
	for i, e := range list {
		value, err := e.find(ctx, from)
		if err != nil {
			faults = append(faults, problem.Wrap(problem.KindOf(err), fmt.Sprintf("%s[%d]", at.Path, i), err).WithNext(problem.NextOf(err)))
			continue
		}
		keys = append(keys, e.key(value))
	}
	return keys, faults
}

func (e Entry) key(value string) Key {
	sec, _ := e.section()
	k := Key{App: e.App, Section: sec, Declared: keyring.Declared{Name: e.name(), Value: value}, Label: e.label()}
	text, _ := json.Marshal([]any{e, value}) // of texts and lists of them
	k.stamp = sha256.Sum256(text)
	if list, _ := e.changes(); len(list) > 0 {
		k.Meta = func(m *accesskey.Meta) {
			for _, c := range list {
				c(m)
			}
		}
	}
	return k
}

// find gives the value; "" for one to be generated.
func (e Entry) find(ctx context.Context, from Sources) (value string, err error) {
	field := ""
	switch {
	case e.Generate:
		return "", nil
	case e.ValueEnv != "":
		field, value = "valueEnv", from.Env(e.ValueEnv)
		if value == "" {
			return "", problem.New(problem.Invalid, "valueEnv: the variable "+e.ValueEnv+" is not set").WithNext("set it for latchkey")
		}
	case e.ValueFile != "":
		field = "valueFile"
		var text []byte
		if text, err = from.File(e.ValueFile); err != nil {
			return "", problem.Wrap(problem.Invalid, "valueFile: the value cannot be read", err).WithNext("see that the file is there and latchkey may read it")
		}
		value = strings.TrimRight(string(text), "\r\n")
	case e.reference() && from.Reference == nil:
		return "", problem.New(problem.Invalid, "value: refers to a vault, which nobody reads here").
			WithNext("use valueEnv or valueFile, or run the app with latchkey up")
	case e.reference():
		field = "value"
		if value, err = from.Reference(ctx, e.Value); err != nil {
			return "", problem.Wrap(problem.KindOf(err), "value: the reference is not resolved", err).WithNext(problem.NextOf(err))
		}
	default:
		field, value = "value", e.Value
	}
	if unresolved(value) {
		return "", problem.New(problem.Invalid, field+": the value is a reference that was not resolved").
			WithNext("write the reference as value, or put the secret itself there")
	}
	if err := accesskey.ValidateValue(value); err != nil {
		return "", problem.Wrap(problem.Invalid, field, err)
	}
	return value, nil
}

// unresolved reports whether a value is the text of a reference, spelled rightly or
// not: as a key it could be guessed by who knows where the secret is.
func unresolved(value string) bool {
	const begin = "@Microsoft."
	value = strings.TrimSpace(value)
	return len(value) >= len(begin) && strings.EqualFold(value[:len(begin)], begin)
}

// Twice gives a text for each key that two lists both declare.
func Twice(a, b []Key) (list []string) {
	seen := map[string]bool{}
	for _, k := range a {
		seen[strings.ToLower(k.App+" "+k.Label)] = true
	}
	for _, k := range b {
		if seen[strings.ToLower(k.App+" "+k.Label)] {
			list = append(list, k.Label)
		}
	}
	return list
}
