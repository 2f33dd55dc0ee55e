package trigger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
)

// Kinds are the types of bindings that a host has besides HTTP. It does not
// change after it is made.
type Kinds struct {
	Sources []Source
	Sinks   []Sink
	// Inputs are the types of input bindings that functions may have.
	Inputs []string
}

// Source gives the source of a trigger type, ignoring case; nil when there is none.
func (k *Kinds) Source(kind string) Source {
	for _, s := range k.Sources {
		if strings.EqualFold(s.Type(), kind) {
			return s
		}
	}
	return nil
}

// Sink gives the sink of an output type, ignoring case; nil when there is none.
func (k *Kinds) Sink(kind string) Sink {
	for _, s := range k.Sinks {
		if strings.EqualFold(s.Type(), kind) {
			return s
		}
	}
	return nil
}

// Check finds what is wrong with the bindings of a function: types that this host
// does not have, and what their sources and sinks object to. s names the function
// and its app; its Binding is set here.
func (k *Kinds) Check(s Setup) []funcapp.Fault {
	var faults []funcapp.Fault
	for i := range s.Function.Bindings {
		s.Binding = &s.Function.Bindings[i]
		faults = append(faults, k.checkBinding(&s)...)
	}
	for i := range faults {
		faults[i].Function = s.Function.Name
	}
	return faults
}

func (k *Kinds) checkBinding(s *Setup) []funcapp.Fault {
	b := s.Binding
	switch {
	case b.Type == "" || strings.EqualFold(b.Type, httpTrigger) || b.Direction == funcapp.Out && strings.EqualFold(b.Type, httpOutput):
		return nil
	case b.IsTrigger():
		if source := k.Source(b.Type); source != nil {
			return source.Check(s)
		}
		return missing(b, "triggers", append(typesOf(k.Sources), httpTrigger))
	case b.Direction == funcapp.Out:
		if sink := k.Sink(b.Type); sink != nil {
			return sink.Check(s)
		}
		return missing(b, "outputs", append(typesOf(k.Sinks), httpOutput))
	}
	if slices.ContainsFunc(k.Inputs, func(t string) bool { return strings.EqualFold(t, b.Type) }) {
		return nil
	}
	return missing(b, "inputs", slices.Clone(k.Inputs))
}

const (
	httpTrigger = "httpTrigger"
	httpOutput  = "http"
)

func typesOf[T interface{ Type() string }](list []T) []string {
	types := make([]string, len(list))
	for i, t := range list {
		types[i] = t.Type()
	}
	return types
}

func missing(b *funcapp.Binding, what string, have []string) []funcapp.Fault {
	slices.Sort(have)
	next := "this host has no " + what
	if len(have) > 0 {
		next = "use one of these " + what + ": " + strings.Join(have, ", ")
	}
	return []funcapp.Fault{{
		Message: fmt.Sprintf("binding %q has type %q, which this host does not have", b.Name, b.Type),
		Next:    next,
	}}
}

// Passive is the source of triggers that nothing listens for: somebody asks for
// their functions by name.
type Passive string

var _ Source = Passive("")

// Type implements [Source].
func (p Passive) Type() string { return string(p) }

// Check implements [Source]; there is nothing to check.
func (p Passive) Check(*Setup) []funcapp.Fault { return nil }

// Listener implements [Source]; there is none.
func (p Passive) Listener(*Setup) (Listener, error) { return nil, nil }
