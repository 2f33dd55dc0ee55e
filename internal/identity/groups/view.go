package groups

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// view says which groups members are in, at one moment.
type view struct {
	of map[string]*memberships // by object id of the member
}

// memberships is what one member is in.
type memberships struct {
	direct []string // sorted
	once   sync.Once
	all    []string // made when it is first asked for
}

// newView makes a view of groups in order of their object ids.
func newView(list []Group) *view {
	v := &view{of: map[string]*memberships{}}
	for _, n := range list {
		for _, member := range n.Members {
			m := v.of[member]
			if m == nil {
				m = &memberships{}
				v.of[member] = m
			}
			m.direct = append(m.direct, n.ObjectID)
		}
	}
	return v
}

// Of gives the object ids of all groups that a principal or group is in, through
// other groups too, sorted; itself is not among them. They are those of this
// moment. The slice is shared and must not be changed. While the store is followed
// it takes no lock and allocates nothing for who is in no group.
//
// When the store cannot be read, it returns the store's error rather than what was
// known last: somebody may have been taken out of a group in the meantime, and
// nobody could tell for how long the answer stays wrong. It costs no availability:
// whether a token still counts is read from the same store, and refused likewise.
func (g *Groups) Of(ctx context.Context, member string) ([]string, error) {
	member = strings.ToLower(member)
	if v := g.view.Load(); v != nil {
		return v.groups(member), nil
	}
	list, err := g.readable(ctx)
	if err != nil {
		return nil, err
	}
	return newView(list).groups(member), nil
}

func (v *view) groups(member string) []string {
	m := v.of[member]
	if m == nil {
		return nil
	}
	m.once.Do(func() { m.all = v.closure(member, m.direct) })
	return m.all
}

// closure follows groups into the groups they are in, each once.
func (v *view) closure(member string, direct []string) []string {
	seen := map[string]bool{member: true}
	var all []string
	for next := slices.Clone(direct); len(next) > 0; {
		id := next[len(next)-1]
		next = next[:len(next)-1]
		if seen[id] {
			continue
		}
		seen[id] = true
		all = append(all, id)
		if m := v.of[id]; m != nil {
			next = append(next, m.direct...)
		}
	}
	slices.Sort(all)
	return slices.Clip(all)
}
