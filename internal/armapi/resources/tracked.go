package resources

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/resources/query"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Bounds of how resources are read: so many at a time, and so few of a type one
// by one. Each read is a round trip on some states; a sweep decrypts what it
// passes.
const (
	readTogether = 256
	readSingly   = 8
)

// tracked gives the tracked resources in a scope in order of their ids. Only
// those are read that are wanted by what their ids say, and only as far as the
// caller goes on.
func (s *Service) tracked(ctx context.Context, scope resource.ID, wanted func(inventory.Entry) (bool, error)) iter.Seq2[inventory.Resource, error] {
	return func(yield func(inventory.Resource, error) bool) {
		entries, err := s.entries(ctx, scope, wanted)
		for chunk := range slices.Chunk(entries, readTogether) {
			var found map[state.Key]inventory.Resource
			if found, err = s.read(ctx, scope, chunk); err != nil {
				break
			}
			for _, e := range chunk {
				if r, there := found[inventory.Key(e.ID)]; there && r.Location != "" && !yield(r, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(inventory.Resource{}, err)
		}
	}
}

// entries gives what may be tracked and is wanted.
func (s *Service) entries(ctx context.Context, scope resource.ID, wanted func(inventory.Entry) (bool, error)) ([]inventory.Entry, error) {
	below, err := s.cfg.Inventory.Below(ctx, scope)
	if err != nil {
		return nil, err
	}
	list := below[:0]
	for _, e := range below {
		typ := strings.ToLower(e.Type)
		if strings.HasPrefix(typ, "microsoft.resources/") || strings.HasPrefix(typ, "microsoft.authorization/") {
			continue
		}
		yes, err := wanted(e)
		if err != nil {
			return nil, err
		}
		if yes {
			list = append(list, e)
		}
	}
	return list, nil
}

// read gives the resources of entries that are there, by their documents' keys.
func (s *Service) read(ctx context.Context, scope resource.ID, entries []inventory.Entry) (map[state.Key]inventory.Resource, error) {
	types, found := map[string][]inventory.Entry{}, make(map[state.Key]inventory.Resource, len(entries))
	for _, e := range entries {
		typ := strings.ToLower(e.Type)
		types[typ] = append(types[typ], e)
	}
	for typ, list := range types {
		if len(list) > readSingly {
			if err := s.sweep(ctx, typ, scope, list, found); err != nil {
				return nil, err
			}
			continue
		}
		for _, e := range list {
			if err := s.readOne(ctx, e, found); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

func (s *Service) readOne(ctx context.Context, e inventory.Entry, found map[state.Key]inventory.Resource) error {
	r, err := s.cfg.Inventory.Get(ctx, e.ID)
	if errors.Is(err, problem.NotFound) { // it went away meanwhile
		return nil
	}
	found[inventory.Key(e.ID)] = r
	return err
}

// sweep reads the resources of a type from the first of the entries to the last.
func (s *Service) sweep(ctx context.Context, typ string, scope resource.ID, entries []inventory.Entry, found map[state.Key]inventory.Resource) error {
	if err := s.readOne(ctx, entries[0], found); err != nil {
		return err
	}
	after, last := inventory.Key(entries[0].ID), inventory.Key(entries[len(entries)-1].ID)
	for after != "" && after < last {
		list, next, err := s.cfg.Inventory.List(ctx, typ, scope, after, len(entries)-1)
		if err != nil {
			return err
		}
		for _, r := range list {
			found[inventory.Key(r.ResourceID())] = r
		}
		after = next
	}
	return nil
}

// possible reports whether a resource may be chosen of which only some fields are
// known: a refusal that asked for nothing else is final.
func possible(match func(query.Fields) bool, known func(field string) (string, bool)) bool {
	guessed := false
	chosen := match(func(field string) string {
		value, ok := known(field)
		guessed = guessed || !ok
		return value
	})
	return chosen || guessed
}

// entryGraphValue gives what an id says of the fields of a Resource Graph query.
// Ids of entries are in lower case: names of resources count only where case does
// not matter.
func entryGraphValue(e inventory.Entry, q query.Graph) func(field string) (string, bool) {
	return func(field string) (string, bool) {
		switch lower := strings.ToLower(field); lower {
		case "name":
			return fullName(e.ID), !q.CaseMatters[lower]
		case "id":
			return e.ID.String(), !q.CaseMatters[lower]
		case "type":
			return strings.ToLower(e.ID.Type()), true
		case "resourcegroup":
			return strings.ToLower(e.ID.Group()), true
		}
		return "", false
	}
}
