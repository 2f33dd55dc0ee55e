package isolation

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestWhereIsolationIsNotPossible(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("what stands in root's way is looked at by root only")
	}
	base, err := os.MkdirTemp("", "isolation")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	mkdir := func(name string, mode os.FileMode, owner int) string {
		dir := filepath.Join(base, name)
		for _, err := range []error{os.MkdirAll(filepath.Join(dir, "data"), 0o700), os.Chmod(dir, mode), os.Chown(dir, owner, owner), os.Chmod(base, 0o711)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return filepath.Join(dir, "data")
	}
	for _, tc := range []struct {
		name, dir, says string
		first           uint32
	}{
		{"a folder that others cannot pass", mkdir("closed", 0o700, 0), "cannot pass through folder", 0},
		{"a folder that others may write to", mkdir("open", 0o777, 0), "others may write", 0},
		{"a folder of somebody else", mkdir("foreign", 0o755, 1000), "belongs to user 1000", 0},
		{"ids of accounts", mkdir("low", 0o755, 0), "firstId 5 begins no range", 5},
		{"ids beyond the last", mkdir("high", 0o755, 0), "begins no range", 1<<32 - 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log bytes.Buffer
			cfg := Config{Dir: tc.dir, First: tc.first, Log: slog.New(slog.NewTextHandler(&log, nil))}
			u, err := Open(t.Context(), cfg)
			if u != nil || err != nil {
				t.Fatalf("auto: %v %v", u, err)
			}
			if said := log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "WARN") || !strings.Contains(said, tc.says) {
				t.Errorf("auto: the log says %s", said)
			}
			cfg.Mode = Required
			if _, err = Open(t.Context(), cfg); problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), tc.says) || problem.NextOf(err) == "" {
				t.Errorf("required: %v", err)
			}
			cfg.Mode = Off
			log.Reset()
			if u, err := Open(t.Context(), cfg); u != nil || err != nil || log.Len() > 0 {
				t.Errorf("off: %v %v %s", u, err, &log)
			}
		})
	}
	if _, err := Open(t.Context(), Config{Dir: base, Mode: "on"}); problem.KindOf(err) != problem.Invalid {
		t.Errorf("an unknown mode: %v", err)
	}
}

func TestAFolderHasOneNode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives users to workers")
	}
	base, err := os.MkdirTemp("", "isolation")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	u, err := Open(t.Context(), Config{Dir: base, Mode: Required})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	seen := map[uint32]bool{}
	for _, uid := range []string{"u1", "u2", "u3"} {
		user, release, err := u.Take("app", uid)
		if err != nil || seen[user.ID] || !u.inRange(user.ID) {
			t.Errorf("%s: %+v %v", uid, user, err)
		}
		again, releaseAgain, err := u.Take("app", uid)
		if err != nil || again != user {
			t.Errorf("%s: first %+v, then %+v %v", uid, user, again, err)
		}
		seen[user.ID] = true
		release()
		releaseAgain()
	}
	for _, bad := range []string{"", "..", "a/b"} {
		if _, _, err := u.Take("app", bad); err == nil {
			t.Errorf("a life called %q got a user", bad)
		}
	}
}

func TestMapsOfNamespaces(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295\n":  true,
		"0 100000 65536\n":                    false,
		"0 1000 1\n2100000000 300000 65536\n": true,
		"2100000000 300000 65535\n":           false,
		"2100000001 300000 65536\n":           false,
		"":                                    false, "nonsense": false, "0 0 4294967295 more": true,
	} {
		if got := mapped(strings.NewReader(text), DefaultFirst); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestStatusOfProcesses(t *testing.T) {
	for text, want := range map[string][]uint32{
		"Name:\tx\nState:\tS (sleeping)\nUid:\t5\t6\t7\t8\nGid:\t1\t1\t1\t1\n": {5, 6, 7, 8},
		"Name:\tUid:\nState:\tZ (zombie)\nUid:\t5\t5\t5\t5\n":                  nil,
		"Name:\tx\n": nil, "": nil,
	} {
		if got := parseStatus([]byte(text)); !slices.Equal(got, want) {
			t.Errorf("%q: %v", text, got)
		}
	}
}
