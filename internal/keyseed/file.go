package keyseed

import (
	"fmt"
	"io"
	"os"

	"github.com/latchkey/latchkey/internal/problem"
)

// maxFile is more than the longest value, in bytes.
const maxFile = 16 << 10

// ReadFile is a Sources.File that reads files of the machine, links too, as mounted
// secrets are. problem.TooLarge for more than 16 KiB.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = problem.New(problem.TooLarge, fmt.Sprintf("the file has more than %d bytes", maxFile))
	}
	return text, err
}
