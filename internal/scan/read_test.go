package scan

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/azfkey"
)

func TestKeysSplitOverChunksAreFound(t *testing.T) {
	for _, before := range []int{chunkSize - 57, chunkSize - 56, chunkSize - 48, chunkSize - 30, chunkSize - 1, chunkSize, 2*chunkSize - 20} {
		text := strings.Repeat(".", before-6) + "\n\n...." + functionKey + "\n"
		var got []string
		_, err := Reader(t.Context(), "-", strings.NewReader(text), Options{}, func(f Finding) error {
			got = append(got, line(f))
			return nil
		})
		if diff := cmp.Diff([]string{"-:3:5-61 function dddd…(56)"}, got); diff != "" || err != nil {
			t.Errorf("key at %d: %v %s", before, err, diff)
		}
	}
}

func TestLinesLongerThanAChunkAreCounted(t *testing.T) {
	wide := strings.Repeat("é", chunkSize) // two bytes each, so two chunks
	text := "\n" + wide + " " + functionKey + " " + masterKey + "\n" + masterKey
	want := []string{
		fmt.Sprintf("-:2:%d-%d function dddd…(56)", chunkSize+2, chunkSize+58),
		fmt.Sprintf("-:2:%d-%d master AAEC…(56)", chunkSize+59, chunkSize+115),
		"-:3:1-57 master AAEC…(56)",
	}
	var got []string
	stats, err := Reader(t.Context(), "-", iotest.HalfReader(strings.NewReader(text)), Options{}, func(f Finding) error {
		got = append(got, line(f))
		return nil
	})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if stats.Bytes != int64(len(text)) || stats.Files != 1 {
		t.Errorf("%+v", stats)
	}
}

func TestUTF16IsText(t *testing.T) {
	text := "é 😀\r\nkey: " + functionKey + "\r\n"
	units := utf16.Encode([]rune("\ufeff" + text))
	var little, big bytes.Buffer
	for _, u := range units {
		little.Write([]byte{byte(u), byte(u >> 8)})
		big.Write([]byte{byte(u >> 8), byte(u)})
	}
	tree(t, map[string]string{"big.txt": big.String(), "little.txt": little.String() + "x", "broken.txt": "\xff\xfe\x00\xd8\x00\xd8a\x00\x00\xdc"})
	got, stats := scanAll(t, Options{Paths: []string{"."}})
	want := []string{"big.txt:2:6-62 function dddd…(56)", "little.txt:2:6-62 function dddd…(56)"}
	if diff := cmp.Diff(want, got); diff != "" || stats.Binary != 0 || stats.Problems != 0 {
		t.Error(diff, stats)
	}
}

func TestUTF16ReaderDecodesAnyCut(t *testing.T) {
	in := "\xfe\xff\x00a\xd8\x3d\xde\x00\xd8\x00\x00b\xdc\x00\xd8\x00\xd8\x3d\xde\x00\x00"
	got, err := io.ReadAll(newUTF16Reader(iotest.OneByteReader(strings.NewReader(in)), utf16Order([]byte(in))))
	if want := "a😀\ufffdb\ufffd\ufffd😀"; string(got) != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func FuzzPlaces(f *testing.F) {
	f.Add([]byte("a\n"+functionKey+"\né "+masterKey), 7)
	f.Add([]byte(strings.Repeat("é", 300)+" "+functionKey+"\n"+functionKey), 100)
	f.Fuzz(func(t *testing.T, text []byte, chunk int) {
		if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) || utf16Order(text) != nil {
			return
		}
		rd := &reading{binary: true, buf: make([]byte, carrySize+1+(chunk&0xfff))}
		matches := azfkey.Find(text)
		rd.scan(t.Context(), bytes.NewReader(text), func(e event) bool {
			m := matches[0]
			matches = matches[1:]
			before := text[:m.Start]
			line := int64(1 + bytes.Count(before, []byte("\n")))
			column := 1 + characters(before[bytes.LastIndexByte(before, '\n')+1:])
			if e.hit.line != line || e.hit.column != column || e.hit.match != m {
				t.Errorf("%v is at %d:%d, want %v at %d:%d", e.hit.match, e.hit.line, e.hit.column, m, line, column)
			}
			return true
		})
		if len(matches) > 0 {
			t.Errorf("%d not found", len(matches))
		}
	})
}
