package azfkey_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/latchkey/latchkey/azfkey"
)

func Example() {
	key, err := azfkey.Generate(azfkey.Function)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Println(len(key), azfkey.Check(key, azfkey.Function), azfkey.Check(key, azfkey.Master))
	// Output: 56 true false
}

func ExampleIdentify() {
	kind, ok := azfkey.Identify("dddddddddddddddddddddddddddddddddddddddddddd" + "AzFu182vhA==")
	fmt.Println(kind, ok)
	_, ok = azfkey.Identify("correct horse battery staple")
	fmt.Println(ok)
	// Output:
	// system true
	// false
}

func ExampleFind() {
	text := []byte(`{"code": "` + strings.Repeat("d", 44) + `AzFu-PX5yQ=="}`)
	for _, m := range azfkey.Find(text) {
		fmt.Println(m.Kind, m.Start, m.End, azfkey.Mask(m.Key()))
	}
	// Output: function 10 66 dddd…(56)
}

// A Finder finds keys in a stream, also where a key is split over two reads.
func ExampleFinder() {
	var f azfkey.Finder
	show := func(m azfkey.Match) { fmt.Println(m) }
	f.Feed([]byte("key="+strings.Repeat("d", 40)), show)
	f.Feed([]byte("ddddAzFurLIoTQ==\n"), show)
	f.Close(show)
	// Output: master key dddd…(56) at 4
}
