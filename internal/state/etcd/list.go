package etcd

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

const (
	chunk   = 500 // documents asked for at once
	relists = 3   // times a list is begun when its moment is compacted away
)

// errCompacted says that the moment being listed is no longer in the history.
var errCompacted = errors.New("compacted")

// List implements [state.Store]. Long lists are read in several requests, all
// as of the first one's revision.
func (s *Store) List(ctx context.Context, prefix state.Key, page state.Page) (state.Listing, error) {
	if err := s.ready(ctx, state.CheckList(prefix, page)); err != nil {
		return state.Listing{}, err
	}
	for range relists {
		list, err := s.list(ctx, prefix, page)
		if !errors.Is(err, errCompacted) {
			return list, err
		}
	}
	return state.Listing{}, problem.New(state.ErrUnavailable, "etcd compacts its history faster than the state can be listed").
		WithNext("let etcd keep more of its history (--auto-compaction-retention)")
}

func (s *Store) list(ctx context.Context, prefix state.Key, page state.Page) (state.Listing, error) {
	from, end := s.path(prefix), clientv3.GetPrefixRangeEnd(s.path(prefix))
	if page.After != "" {
		from = max(from, s.path(page.After)+"\x00")
	}
	list := state.Listing{More: true}
	for list.More && (page.Limit <= 0 || len(list.Documents) < page.Limit) {
		resp, err := s.read(ctx, from, s.listOptions(end, page, list)...)
		if err != nil {
			return state.Listing{}, err
		}
		if list.Revision == 0 {
			list.Revision = state.Revision(resp.Header.Revision)
		}
		for _, kv := range resp.Kvs {
			list.Documents = append(list.Documents, s.document(kv))
			from = string(kv.Key) + "\x00"
		}
		list.More = resp.More
	}
	if page.KeysOnly {
		for i := range list.Documents {
			list.Documents[i].Value = nil
		}
	}
	return list, nil
}

// listOptions asks for the next part of a list.
func (s *Store) listOptions(end string, page state.Page, have state.Listing) []clientv3.OpOption {
	limit := chunk
	if page.Limit > 0 {
		limit = min(limit, page.Limit-len(have.Documents))
	}
	opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(int64(limit)), clientv3.WithRev(int64(have.Revision))}
	if page.KeysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	return opts
}

// document gives a stored document. Its value is never nil.
func (s *Store) document(kv *mvccpb.KeyValue) state.Document {
	value := kv.Value
	if value == nil {
		value = []byte{}
	}
	return state.Document{Key: s.key(kv.Key), Value: value, Revision: state.Revision(kv.ModRevision)}
}

func (s *Store) key(path []byte) state.Key {
	return state.Key(strings.TrimPrefix(string(path), s.cfg.Prefix))
}
