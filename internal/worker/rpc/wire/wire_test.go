package wire_test

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// TestNumbersAreThoseOfExistingWorkers compares every message, field, value and
// method with testdata/numbers.txt, which comes from the descriptors of the
// protocol as workers are built with it.
func TestNumbersAreThoseOfExistingWorkers(t *testing.T) {
	want, err := os.ReadFile("testdata/numbers.txt")
	if err != nil {
		t.Fatal(err)
	}
	var l listing
	for _, f := range []protoreflect.FileDescriptor{wire.File_internal_worker_rpc_wire_wire_proto, wire.File_internal_worker_rpc_wire_nullable_proto} {
		l.messages(f.Messages())
		l.enums(f.Enums())
		l.services(f.Services())
	}
	sort.Strings(l)
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), []string(l)); diff != "" {
		t.Error(diff)
	}
}

// listing has one line per thing that shows on the wire.
type listing []string

func (l *listing) add(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }

func (l *listing) messages(list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		m := list.Get(i)
		l.add("%s", m.FullName())
		l.enums(m.Enums())
		l.messages(m.Messages())
		for j := range m.Fields().Len() {
			l.field(m, m.Fields().Get(j))
		}
	}
}

func (l *listing) field(m protoreflect.MessageDescriptor, f protoreflect.FieldDescriptor) {
	kind, group := f.Kind().String(), ""
	if f.Message() != nil {
		kind = string(f.Message().FullName())
	}
	if f.Enum() != nil {
		kind = string(f.Enum().FullName())
	}
	if o := f.ContainingOneof(); o != nil {
		group = " oneof " + string(o.Name())
	}
	l.add("%s.%s=%d %s %s%s", m.FullName(), f.Name(), f.Number(), f.Cardinality(), kind, group)
}

func (l *listing) enums(list protoreflect.EnumDescriptors) {
	for i := range list.Len() {
		e := list.Get(i)
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			l.add("%s %s=%d", e.FullName(), v.Name(), v.Number())
		}
	}
}

func (l *listing) services(list protoreflect.ServiceDescriptors) {
	for i := range list.Len() {
		s := list.Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			l.add("rpc %s %s %s %v %v", m.FullName(), m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient(), m.IsStreamingServer())
		}
	}
}
